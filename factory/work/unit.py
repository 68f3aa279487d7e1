"""One unit of any stage: made, and its outcomes committed."""

from factory import deeds
from factory.errors import (
    Damaged,
    NeedsRepair,
    ObjectMissing,
    ServerUnavailable,
    StorageUnavailable,
    first_line,
)
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, open_items
from factory.ledger.units.commits import Attempt, write_commit
from factory.work.reports import UnitProblem, UnitReport
from factory.work.stage import Maker, Stage


def make_unit(run: Run, plan: Plan, unit: int, maker: Maker) -> UnitReport:
    """Make and commit one unit; safe to run twice, anywhere, at the same time.

    Raises `StorageError` where the outcomes could not be committed; then nothing of it counts.
    """
    attempt = Attempt()
    try:
        return _committed(run, plan, unit, attempt)
    except ObjectMissing:
        pass
    generation = plan.generation(unit)
    items, earlier = open_items(run, plan, unit, generation)
    outcomes = maker.make(unit, items)
    deeds.made()
    if not write_commit(run, unit, outcomes, attempt, generation, earlier):
        return _committed(run, plan, unit, attempt)
    if run.layout.named:
        # What stood at its keys before may have changed what became of its items.
        try:
            return _committed(run, plan, unit, attempt, made=True)
        except ObjectMissing as error:
            raise StorageUnavailable(f"{error}: they overwrote each other's objects") from None
    tally = outcomes.tally
    return UnitReport(unit, tally.total, attempt.seconds, made=True, marks=tally.marks)


def attempt_unit(run: Run, plan: Plan, unit: int, maker: Maker) -> UnitReport | UnitProblem:
    """Make a unit; what is this unit's trouble alone is a problem, anything else is raised."""
    try:
        return make_unit(run, plan, unit, maker)
    except (StorageUnavailable, ServerUnavailable, Damaged) as error:
        return UnitProblem(unit, first_line(error), isinstance(error, NeedsRepair))


def fail_unit(stage: Stage, run: Run, plan: Plan, unit: int, reason: str) -> None:
    """Commit every outcome of a unit as failed, so that a run with a poison unit ends.

    A commit that another attempt has stored meanwhile stays, and counts.
    """
    try:
        find_commit(run, plan, unit)
    except ObjectMissing:
        generation = plan.generation(unit)
        items, earlier = open_items(run, plan, unit, generation)
        write_commit(run, unit, stage.fail(run, items, reason), Attempt(), generation, earlier)


def _committed(
    run: Run, plan: Plan, unit: int, attempt: Attempt, *, made: bool = False
) -> UnitReport:
    """What the commit in the store says, whoever wrote it. Raises `ObjectMissing`."""
    tally = find_commit(run, plan, unit).record.tally
    return UnitReport(unit, tally.total, attempt.seconds, made=made, marks=tally.marks)
