"""Make units in this process, one after the other: a test, a laptop, a debugger."""

from collections.abc import Callable, Iterator, Sequence

from factory.errors import Damaged, StorageUnavailable, first_line
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.pairs.generate import generate_unit
from factory.pairs.source import PairSource
from factory.work.reports import Runner, UnitProblem, UnitReport
from schemas.config import Config


def run_here(make_source: Callable[[Run], PairSource]) -> Runner:
    """A runner that makes its pair source once, at once, and then every unit in turn."""

    def runner(
        run: Run,
        plan: Plan,
        units: Sequence[int],
        config: Config,
        should_stop: Callable[[], bool],
    ) -> Iterator[UnitReport | UnitProblem]:
        return _made(run, plan, units, make_source(run), should_stop)

    return runner


def _made(
    run: Run,
    plan: Plan,
    units: Sequence[int],
    source: PairSource,
    should_stop: Callable[[], bool],
) -> Iterator[UnitReport | UnitProblem]:
    for unit in units:
        if should_stop():
            return
        yield attempt_unit(run, plan, unit, source)


def attempt_unit(run: Run, plan: Plan, unit: int, source: PairSource) -> UnitReport | UnitProblem:
    """Make a unit; what is this unit's trouble alone is a problem, anything else is raised."""
    try:
        return generate_unit(run, plan, unit, source)
    except (StorageUnavailable, Damaged) as error:
        return UnitProblem(unit, first_line(error))
