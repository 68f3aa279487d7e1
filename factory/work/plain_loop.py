"""Make units in this process, one after the other: a test, a laptop, a debugger."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.work.reports import Runner, UnitProblem, UnitReport
from factory.work.stage import Maker, Stage, Terms
from factory.work.unit import attempt_unit


def run_here(stage: Stage) -> Runner:
    """A runner that loads the stage's maker once, at once, and then makes every unit in turn."""

    def runner(
        run: Run,
        plan: Plan,
        units: Sequence[int],
        terms: Terms,
        should_stop: Callable[[], bool],
    ) -> Iterator[UnitReport | UnitProblem]:
        return _made(run, plan, units, stage.load(run, terms.compute), should_stop)

    return runner


def _made(
    run: Run,
    plan: Plan,
    units: Sequence[int],
    maker: Maker,
    should_stop: Callable[[], bool],
) -> Iterator[UnitReport | UnitProblem]:
    with closing(maker):
        for unit in units:
            if should_stop():
                return
            yield attempt_unit(run, plan, unit, maker)
