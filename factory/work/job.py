"""The whole main job around the units: check, plan, run what is open, seal."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from factory.console.amounts import counted
from factory.console.progress import Progress
from factory.console.say import say
from factory.console.signals import INTERRUPTED, Drain
from factory.errors import EditmillError, NeedsRepair
from factory.ledger.book import Book
from factory.ledger.laid_out import lay_out
from factory.ledger.lines import tally_of
from factory.ledger.manifest import manifest_hash
from factory.ledger.plan import Item, Plan, read_plan, write_plan
from factory.ledger.run import Commits, Run, create_run, is_begun
from factory.ledger.seal import seal
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.ledger.units.reopen import open_failed
from factory.storage.probe import probe
from factory.storage.protocol import ObjectStore
from factory.work.guards import Guards, Stop
from factory.work.reports import Runner, UnitProblem, UnitReport
from factory.work.roller import Roller
from factory.work.stage import Sealing, Stage, Terms
from schemas.ledger.commit import Manifest
from schemas.ledger.layout import Layout
from schemas.ledger.tally import Tally
from schemas.record import Record

_INTERRUPTED = Stop(INTERRUPTED, 3)
NOTHING_KEPT = 4
"""The exit code of a whole run without one outcome of its first kind."""
MOST_REASON = 200
"""Letters of a failure's reason in a message."""


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
        return manifest_hash(self.book.run, self.sealed) if self.sealed else None


def begin(
    layout: Layout,
    store: ObjectStore,
    pinned: Callable[[], Record],
    items: Sequence[Item] | None,
    unit_items: int,
    duplicates: int = 0,
    *,
    extend: bool = False,
    retry_failed: bool = False,
) -> tuple[Run, Plan]:
    """Open or begin the run in a store, all checks first.

    `items` None are those of the plan that is there. `pinned` makes the recipe, with the hashes of its
    files, once it is known that a run may live here. `extend` lets the list be longer than the planned one,
    `retry_failed` opens what failed again. Raises `InputError` and `StorageRefused` for what the operator
    must mend.
    """
    is_begun(store)
    recipe = pinned()
    # The probe is the first to write, so that all that can be told without it leaves nothing.
    commits: Commits = "conditional" if probe(store).commits == "conditional" else "sealed"
    run = create_run(store, recipe, commits, layout)
    if items is None:
        plan = read_plan(run)
    else:
        plan = write_plan(run, items, unit_items, duplicates, extend=extend)
    return run, open_failed(run, plan) if retry_failed else plan


def run_job(stage: Stage, run: Run, plan: Plan, terms: Terms, runner: Runner) -> JobResult:
    """Make every open unit within the budget, then seal; safe to kill and call again at any time."""
    book = Book(run, plan)
    done = book.committed()
    limit = terms.budget.limit
    goal = plan.units if limit is None else plan.first_units(limit)
    pending = [unit for unit in goal if not done[unit]]
    if terms.compute.backward:
        pending.reverse()
    guards = Guards(run.layout, terms.budget, terms.compute, held=_held(book, terms))
    guards.marks.update(_marks(book, terms))
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
            first = f"; {stage.loading}" if stage.loading else ""
            progress.say(f"{counted(len(pending), 'unit')} to make{first}")
            reports = runner(run, plan, pending, terms, should_stop)
        # After the runner has begun: until then nothing is in hand, and Ray takes signals when it starts.
        with drain:
            try:
                for report in reports:
                    if isinstance(report, UnitProblem):
                        problems.append(report)
                        guards.lose(report)
                        words = f"unit {report.unit}: {report.message}"
                        progress.say(words, "warning", unit=report.unit)
                    else:
                        made += report.made
                        roller.see(report.unit)
                        guards.see(report)
                        progress.advance(**_counted(run.layout, guards))
                    if should_stop():
                        break
            finally:
                if isinstance(reports, Generator):
                    reports.close()
            roller.close()
            stop = _INTERRUPTED if drain.asked else guards.stop()
    # Sealing is safe to break off, and may read for minutes: outside, a signal ends it at once.
    return _end(stage, book, goal, terms, stop, made, problems)


def _counted(layout: Layout, guards: Guards) -> dict[str, int]:
    kept, outcomes = f"{layout.kept}s", f"{layout.outcome}s"
    return {kept: guards.kept, outcomes: guards.outcomes}


def _held(book: Book, terms: Terms) -> int:
    """Counted only where a goal depends on it: it reads every open segment's commits."""
    if terms.budget.target_pairs is None:
        return 0
    return sum(line.counts[book.run.layout.counts[0]] for line in book.lines())


def _marks(book: Book, terms: Terms) -> dict[str, int]:
    """Summed only where the budget watches them: it reads every open segment's commits."""
    if not terms.budget.watches_marks:
        return {}
    return Tally.sum(tally_of(book.run.layout, line) for line in book.lines()).marks


def _end(
    stage: Stage,
    book: Book,
    goal: range,
    terms: Terms,
    stop: Stop | None,
    made: int,
    problems: list[UnitProblem],
) -> JobResult:
    """Seal what may be sealed and say how it ended; a guard's word goes before a problem's.

    Well ended is only what covers its goal: all units of the plan, those of the limit, or as many pairs
    as were asked for. Whatever else a runner left open, a rerun makes.
    """
    run, plan, layout = book.run, book.plan, book.run.layout
    first, done = layout.counts[0], book.committed()
    if done.count(1) == len(plan.units):
        _, sealed = seal(run, plan, book=book, finish=stage.sealing.finish)
        publish(run, sealed, stage.sealing)
        if not sealed.counts[first]:
            message = f"sealed without one {layout.kept}: {_what_took_them(stage, book)}"
            return JobResult(NOTHING_KEPT, message, made, problems, sealed, book)
        message = f"sealed: {counted(sealed.counts[first], layout.kept)}"
        message = "; ".join([message, *_failed(stage, book, sealed.counts, made)])
        return JobResult(0, message, made, problems, sealed, book)
    left = sum(not done[unit] for unit in goal)
    if (
        stop is not None
        and stop.exit_code == 0
        and _held(book, terms) < (terms.budget.target_pairs or 0)
    ):
        # Reports counted more than the store shows.
        stop = None
    if (stop is None or stop is _INTERRUPTED) and not left:
        stop = Stop(f"limit reached: {done.count(1)} of {len(plan.units)} units", 0)
    if stop is None and problems:
        message = f"{len(problems)} units could not be committed; first: {problems[0].message}"
        code = NeedsRepair.exit_code if any(one.damaged for one in problems) else 3
        stop = Stop(message, code)
    if stop is None:
        message = f"{left} of {len(goal)} units are not committed, and no worker said why"
        stop = Stop(f"{message}; run the same command to resume", 3)
    if stop.exit_code in (3, NeedsRepair.exit_code):
        return JobResult(stop.exit_code, stop.reason, made, problems, None, book)
    left_out: dict[int, str] = {}
    finish = stage.sealing.finish
    snapshot = seal(run, plan, partial=True, book=book, finish=finish, left_out=left_out)[1]
    publish(run, snapshot, stage.sealing)
    message, code = stop.reason, stop.exit_code
    if left_out:
        what = next(iter(left_out.values()))
        message += f"; {counted(len(left_out), 'damaged unit')} left out, first: {what}"
        code = code or NeedsRepair.exit_code
    if snapshot.units and not snapshot.counts[first]:
        message += f"; not one {layout.kept}: {_what_took_them(stage, book)}"
    else:
        message = "; ".join([message, *_failed(stage, book, snapshot.counts, made)])
    return JobResult(code, message, made, problems, snapshot, book)


def publish(run: Run, sealed: Manifest, sealing: Sealing) -> None:
    """What follows from a manifest: what is counted by, and what readers look for.

    Says at which names something else stands, which stays.
    """
    if sealing.derive is not None:
        # The plan as it is now: the manifest may be of a longer one.
        sealing.derive(run, read_plan(run), sealed)
    for name in lay_out(run, sealing.lay_out) if sealing.lay_out is not None else ():
        store, key = run.locate(name)
        say(
            f"{store.uri}/{key}: is not this program's, or was changed since, and stays; move it and "
            "seal again to have this program's there",
            "warning",
        )


def _what_took_them(stage: Stage, book: Book) -> str:
    """Why a run holds nothing: its outcomes by reason, and the first that could not be made."""
    layout = book.run.layout
    tally = Tally.sum(tally_of(layout, line) for line in book.lines())
    total = tally.total
    took = ", ".join(f"{gate} {count}" for gate, count in tally.reasons.items())
    others = [name for name in layout.counts[1:] if name != layout.FAILED and total.get(name)]
    rejected = " and ".join(f"{total[name]} were {name}" for name in others)
    if took:
        several = " (several gates may reject one)" if "rejected" in others else ""
        rejected += f", by {took}{several}"
    parts = " and ".join(filter(None, (rejected, *_failed(stage, book, total))))
    advice = f"; {stage.advice}" if stage.advice else ""
    return f"of {sum(total.values())} {layout.outcome}s {parts}{advice}"


def _failed(
    stage: Stage, book: Book, counts: Mapping[str, int], made: int | None = None
) -> list[str]:
    """How many outcomes could not be made, and why the first; nothing where none failed.

    A start that made no unit (`made`) reads no commit for it.
    """
    number = counts.get(book.run.layout.FAILED, 0)
    if not number:
        return []
    why = "" if made == 0 else _first_failure(stage, book)
    return [f"{number} could not be made{why}"]


def _first_failure(stage: Stage, book: Book) -> str:
    """Which outcome failed first in the plan's order, and why; empty where its commit cannot be read."""
    run, name = book.run, next(iter(stage.layout.outcomes))
    for line in book.lines():
        if not line.counts.get(run.layout.FAILED):
            continue
        try:
            found = find_commit(run, book.plan, line.unit, line)
            rows = whole_commit(run, found).rows
        except EditmillError:
            return ""
        row = next(row for row in rows if row["verdict"] == run.layout.FAILED)
        return f", first {run.layout.outcome} {row[name]}: {row['reason'] or '':.{MOST_REASON}}"
    return ""
