"""The main job, one unit: make every candidate, judge it, commit the outcomes."""

import time
import uuid

from factory import deeds
from factory.errors import ObjectMissing
from factory.ledger.attempts import find_commit
from factory.ledger.commits import write_commit
from factory.ledger.plan import Plan
from factory.ledger.run import Run, must_stand
from factory.pairs.selection import Selection
from factory.pairs.source import PairSource, draws
from factory.storage.patience import patiently
from factory.work.reports import UnitReport
from schemas.tally import Tally


def generate_unit(run: Run, plan: Plan, unit: int, source: PairSource) -> UnitReport:
    """Make and commit one unit; safe to run twice, anywhere, at the same time.

    Raises `StorageError` where the outcomes could not be committed; then nothing of it counts.
    """
    started, began = time.time(), time.monotonic()
    try:
        return _committed(run, plan, unit, began)
    except ObjectMissing:
        pass
    triplets = patiently(lambda: plan.triplets(unit))
    selection = Selection(run.recipe)
    for outcome in source.pairs([draw for t in triplets for draw in draws(run.recipe, t)]):
        selection.add(outcome)
    deeds.made()
    candidates, pairs = selection.result(triplets)
    must_stand(run)
    tally = Tally.of(candidates, {t.triplet_id: t.edit_kind for t in triplets})
    won = write_commit(
        run.store,
        unit,
        candidates,
        pairs,
        attempt=uuid.uuid4().hex,
        recipe_hash=run.recipe_hash,
        tally=tally,
        environment=source.environment(),
        started=started,
        began=began,
        generation=plan.generation(unit),
        sealed=run.commits == "sealed",
    )
    if not won:
        return _committed(run, plan, unit, began)
    return _report(unit, tally, began, made=True)


def _committed(run: Run, plan: Plan, unit: int, began: float) -> UnitReport:
    """What the commit in the store says, whoever wrote it. Raises `ObjectMissing`."""
    found = patiently(lambda: find_commit(run, plan, unit))
    return _report(unit, found.record.tally, began, made=False)


def _report(unit: int, tally: Tally, began: float, *, made: bool) -> UnitReport:
    total = tally.total
    return UnitReport(
        unit=unit,
        accepted=total.accepted,
        rejected=total.rejected,
        failed=total.failed,
        seconds=time.monotonic() - began,
        made=made,
    )
