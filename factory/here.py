"""Make units in this process, one after the other: a test, a laptop, a debugger."""

from collections.abc import Callable, Iterator, Sequence

from factory.errors import StorageUnavailable
from factory.generate import UnitReport, generate_unit
from factory.job import UnitProblem
from factory.pair_source import PairSource
from factory.plan import Plan
from factory.run import Run
from schemas.config import Config


def run_here(
    make_source: Callable[[Run], PairSource],
) -> Callable[[Run, Plan, Sequence[int], Config], Iterator[UnitReport | UnitProblem]]:
    """A runner that makes its pair source once and then every unit in turn."""

    def runner(
        run: Run, plan: Plan, units: Sequence[int], config: Config
    ) -> Iterator[UnitReport | UnitProblem]:
        source = make_source(run)
        for unit in units:
            try:
                yield generate_unit(run, plan, unit, source)
            except StorageUnavailable as error:
                yield UnitProblem(unit, str(error))

    return runner
