"""The whole main job around the units: check, plan, run what is open, seal."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from factory.errors import StorageRefused
from factory.guards import Guards, Stop
from factory.ledger.book import Book
from factory.ledger.failed import open_failed
from factory.ledger.manifest import seal
from factory.ledger.plan import Plan, write_plan
from factory.ledger.roller import Roller
from factory.ledger.run import Commits, Run, create_run, is_begun
from factory.ledger.sealed import manifest_hash
from factory.pinning import pin
from factory.progress import Progress
from factory.reports import Runner, UnitProblem, UnitReport
from factory.signals import INTERRUPTED, Drain
from factory.storage.open import open_store
from factory.storage.probe import StoreProbe, probe
from factory.storage.protocol import ObjectStore
from factory.triplets import TripletList
from schemas.commit import Manifest
from schemas.config import Config


@dataclass(frozen=True)
class JobResult:
    """How a start ended."""

    exit_code: int
    message: str
    units_made: int
    problems: list[UnitProblem]
    sealed: Manifest | None
    book: Book
    """What was read of the ledger, for whoever sums it up next."""

    @property
    def manifest_hash(self) -> str | None:
        """Of the sealed manifest."""
        return manifest_hash(self.sealed) if self.sealed else None


def prepare(
    config: Config,
    triplets: TripletList,
    out: str,
    *,
    extend: bool = False,
    retry_failed: bool = False,
) -> tuple[Run, Plan]:
    """Open or begin the run at `out`, all checks first; no weights are loaded.

    `extend` lets the list be longer than the planned one, `retry_failed` opens failed units again.
    Raises `InputError` and `StorageRefused` for what the operator must mend.
    """
    store = open_store(out)
    is_begun(store)
    recipe = pin(config.recipe)
    # The probe is the first to write, so that all that can be told without it leaves nothing.
    commits: Commits = "conditional" if probe(store).commits == "conditional" else "sealed"
    run = create_run(store, recipe, commits)
    plan = write_plan(
        store, triplets.triplets, recipe.unit_triplets, triplets.duplicates, extend=extend
    )
    return run, open_failed(run, plan) if retry_failed else plan


def try_store(store: ObjectStore) -> StoreProbe:
    """Probe a store. Raises `StorageRefused` or `StorageUnavailable` where no run can live there."""
    found = probe(store)
    if found.commits != "conditional":
        raise StorageRefused(
            f"{store.uri}: the store must honour If-None-Match on PUT (one winner of several "
            f"writers): {found.reason}"
        )
    return found


def run_job(run: Run, plan: Plan, config: Config, runner: Runner) -> JobResult:
    """Make every open unit within the budget, then seal; safe to kill and call again at any time."""
    book = Book(run, plan)
    done = book.committed()
    limit = config.budget.limit
    goal = plan.units if limit is None else plan.first_units(limit)
    pending = [unit for unit in goal if not done[unit]]
    if config.compute.unit_order == "backward":
        pending.reverse()
    guards = Guards(config.budget, config.compute, pairs=_pairs_held(book, config))
    drain = Drain()
    problems: list[UnitProblem] = []
    made = 0

    def should_stop() -> bool:
        return drain.asked or guards.stop() is not None

    start = pending and not should_stop()
    reports: Iterator[UnitReport | UnitProblem] = iter(())
    with (
        Progress("units", len(goal), len(goal) - len(pending)) as progress,
        Roller(book, done) as roller,
    ):
        if run.commits == "sealed":
            progress.say("conditional writes are weak here: attempts are committed side by side")
        if start:
            progress.say(f"{len(pending)} units to make; workers load the models first")
            reports = runner(run, plan, pending, config, should_stop)
        # After the runner has begun: until then nothing is in hand, and Ray takes signals when it starts.
        with drain:
            for report in reports:
                if isinstance(report, UnitProblem):
                    problems.append(report)
                    progress.say(f"unit {report.unit}: {report.message}")
                    continue
                made += report.made
                roller.see(report.unit)
                guards.see(report)
                progress.advance(pairs=guards.accepted, candidates=guards.candidates)
                if should_stop():
                    break
            if isinstance(reports, Generator):
                reports.close()
            roller.close()
            stop = Stop(INTERRUPTED, 3) if drain.asked else guards.stop()
    # Sealing is safe to break off, and may read for minutes: outside, a signal ends it at once.
    return _end(book, stop, made, problems)


def _pairs_held(book: Book, config: Config) -> int:
    """Counted only where a goal depends on it: it reads every open segment's commits."""
    if config.budget.target_pairs is None:
        return 0
    return sum(line.accepted for line in book.lines())


def _end(book: Book, stop: Stop | None, made: int, problems: list[UnitProblem]) -> JobResult:
    """Seal what may be sealed and say how it ended; a guard's word goes before a problem's."""
    run, plan = book.run, book.plan
    committed = book.committed().count(1)
    if committed == len(plan.units):
        _, sealed = seal(run, plan, book=book)
        return JobResult(0, f"sealed: {sealed.accepted} pairs", made, problems, sealed, book)
    if stop is None and problems:
        message = f"{len(problems)} units could not be committed; first: {problems[0].message}"
        stop = Stop(message, 3)
    if stop is None:
        stop = Stop(f"limit reached: {committed} of {len(plan.units)} units", 0)
    snapshot = seal(run, plan, partial=True, book=book)[1] if stop.exit_code != 3 else None
    return JobResult(stop.exit_code, stop.reason, made, problems, snapshot, book)
