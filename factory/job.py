"""The whole main job around the units: check, plan, run what is open, seal."""

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from factory.errors import StorageRefused
from factory.generate import UnitReport
from factory.guards import Guards, Stop
from factory.ledger import committed_units, read_commit
from factory.manifest import manifest_hash, seal
from factory.models import pin
from factory.plan import Plan, write_plan
from factory.progress import Progress
from factory.run import Run, create_run, is_begun
from factory.storage.open import open_store
from factory.storage.probe import probe
from factory.triplets import TripletList
from schemas.candidate import Verdict
from schemas.commit import Manifest
from schemas.config import Config


@dataclass(frozen=True)
class UnitProblem:
    """A unit that could not be committed; the next start tries it again."""

    unit: int
    message: str


Runner = Callable[[Run, Plan, Sequence[int], Config], Iterator[UnitReport | UnitProblem]]
"""Makes units somewhere and reports each; closing it stops the work."""


class Drained(BaseException):
    """SIGTERM or SIGINT: stop at once; what is committed stays, the rest is resumed."""


@dataclass(frozen=True)
class JobResult:
    """How a start ended."""

    exit_code: int
    message: str
    units_made: int
    problems: list[UnitProblem]
    sealed: Manifest | None

    @property
    def manifest_hash(self) -> str | None:
        """Of the sealed manifest."""
        return manifest_hash(self.sealed) if self.sealed else None


def prepare(config: Config, triplets: TripletList, out: str) -> tuple[Run, Plan]:
    """Open or begin the run at `out`, all checks first; no weights are loaded.

    Raises `InputError` and `StorageRefused` for what the operator must mend.
    """
    recipe = pin(config.recipe)
    store = open_store(out)
    is_begun(store)
    found = probe(store)
    if found.commits != "conditional":
        raise StorageRefused(
            f"{store.uri}: the store must honour If-None-Match on PUT (one winner of several "
            f"writers): {found.reason}"
        )
    run = create_run(store, recipe)
    plan = write_plan(store, triplets.triplets, recipe.unit_triplets, triplets.duplicates)
    return run, plan


def run_job(run: Run, plan: Plan, config: Config, runner: Runner) -> JobResult:
    """Make every open unit within the budget, then seal; safe to kill and call again at any time."""
    done = set(committed_units(run.store))
    goal = _goal(plan, config)
    pending = [unit for unit in goal if unit not in done]
    if config.compute.unit_order == "backward":
        pending.reverse()
    guards = Guards(config.budget, config.compute, pairs=_pairs_held(run, done, config))
    problems: list[UnitProblem] = []
    made = 0
    stop = guards.stop()
    start = pending and stop is None
    reports = runner(run, plan, pending, config) if start else iter(())
    try:
        # The signals are taken last, because Ray takes them when the runner starts it.
        with Progress("units", len(goal), len(goal) - len(pending)) as progress, _draining():
            for report in reports:
                if isinstance(report, UnitProblem):
                    problems.append(report)
                    progress.say(f"unit {report.unit}: {report.message}")
                    continue
                made += report.made
                guards.see(report)
                progress.advance(pairs=guards.pairs, candidates=guards.candidates)
                stop = guards.stop()
                if stop is not None:
                    break
            if isinstance(reports, Generator):
                reports.close()
    except Drained:
        return _end(
            run, plan, Stop("interrupted; run the same command to resume", 3), made, problems
        )
    return _end(run, plan, stop, made, problems)


def _goal(plan: Plan, config: Config) -> range:
    limit = config.budget.limit
    if limit is None:
        return plan.units
    units = -(-limit // plan.record.unit_triplets)
    return plan.units[:units]


def _pairs_held(run: Run, done: set[int], config: Config) -> int:
    """Counted only where a goal depends on it: it reads every commit."""
    if config.budget.target_pairs is None:
        return 0
    return sum(
        row.verdict == Verdict.ACCEPTED
        for unit in done
        for row in read_commit(run.store, unit).candidates
    )


def _end(
    run: Run, plan: Plan, stop: Stop | None, made: int, problems: list[UnitProblem]
) -> JobResult:
    committed = sum(unit in plan.units for unit in committed_units(run.store))
    whole = committed == len(plan.units)
    sealed: Manifest | None = None
    if whole or ((stop is None or stop.exit_code != 3) and not problems):
        _, sealed = seal(run, plan, partial=not whole)
    if whole:
        return JobResult(0, f"sealed: {sealed and sealed.accepted} pairs", made, problems, sealed)
    if problems:
        message = f"{len(problems)} units could not be committed; first: {problems[0].message}"
        return JobResult(3, message, made, problems, sealed)
    if stop is not None:
        return JobResult(stop.exit_code, stop.reason, made, problems, sealed)
    return JobResult(
        0, f"limit reached: {committed} of {len(plan.units)} units", made, problems, sealed
    )


@contextmanager
def _draining() -> Iterator[None]:
    """Inside, SIGTERM and SIGINT raise `Drained` in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def drain(*_: Any) -> None:
        raise Drained

    before = {name: signal.signal(name, drain) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for name, handler in before.items():
            with suppress(TypeError):
                signal.signal(name, handler)
