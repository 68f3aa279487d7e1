"""The main job, one unit: make every candidate, judge it, commit the outcomes."""

import time
import uuid
from collections import Counter
from dataclasses import dataclass

from factory.errors import ObjectMissing
from factory.ledger import read_commit, write_commit
from factory.pair_source import PairSource, draws
from factory.plan import Plan
from factory.run import Run
from factory.selection import Selection
from schemas.candidate import Verdict


@dataclass(frozen=True)
class UnitReport:
    """The small row that a worker sends back."""

    unit: int
    accepted: int
    rejected: int
    failed: int
    seconds: float
    made: bool
    """False where the unit was committed before, or another attempt won."""
    worker: str = "here"
    """Which worker."""
    gpus: str = ""
    """GPU ids that it holds, joined by commas."""
    peak_rss_mib: float = 0.0
    """Its process's peak memory so far."""


def generate_unit(run: Run, plan: Plan, unit: int, source: PairSource) -> UnitReport:
    """Make and commit one unit; safe to run twice, anywhere, at the same time.

    Raises `StorageError` where the outcomes could not be committed; then nothing of it counts.
    """
    started = time.time()
    try:
        return _committed(run, unit, started)
    except ObjectMissing:
        pass
    triplets = plan.triplets(unit)
    selection = Selection(run.recipe)
    for outcome in source.pairs([draw for t in triplets for draw in draws(run.recipe, t)]):
        selection.add(outcome)
    candidates, pairs = selection.result(triplets)
    attempt = uuid.uuid4().hex
    if not write_commit(
        run.store,
        unit,
        candidates,
        pairs,
        attempt=attempt,
        recipe_hash=run.recipe.recipe_hash,
        environment=source.environment(),
        started=started,
    ):
        return _committed(run, unit, started)
    verdicts = Counter(row.verdict for row in candidates)
    return _report(unit, verdicts, started, made=True)


def _committed(run: Run, unit: int, started: float) -> UnitReport:
    """What the commit in the store says, whoever wrote it. Raises `ObjectMissing`."""
    verdicts = Counter(row.verdict for row in read_commit(run.store, unit).candidates)
    return _report(unit, verdicts, started, made=False)


def _report(unit: int, verdicts: Counter[Verdict], started: float, *, made: bool) -> UnitReport:
    return UnitReport(
        unit=unit,
        accepted=verdicts[Verdict.ACCEPTED],
        rejected=verdicts[Verdict.REJECTED],
        failed=verdicts[Verdict.FAILED],
        seconds=time.time() - started,
        made=made,
    )
