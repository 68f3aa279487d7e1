"""`generate` over a stub or any other pair source, as tests ask for it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.pairs.generate import PairMaker, generate_stage
from factory.pairs.source import PairSource
from factory.verbs.machine import load_engine
from factory.work import job, plain_loop, unit
from factory.work.reports import Runner, UnitProblem, UnitReport
from factory.work.stage import Load, Stage
from schemas.config import Compute
from schemas.recipe import Recipe

MakeSource = Callable[[Recipe, Compute], PairSource]
"""Makes a worker's pair source, in the worker; it travels by name, so it lies in a module."""
STAGE = generate_stage(load_engine)


def loaded(make_source: MakeSource) -> Load:
    """What a worker loads of a source."""
    return partial(_load, make_source)


def _load(make_source: MakeSource, run: Run, compute: Compute) -> PairMaker:
    return PairMaker(run.recipe, make_source(run.recipe, compute))


def generate_unit(run: Run, plan: Plan, number: int, source: PairSource) -> UnitReport:
    return unit.make_unit(run, plan, number, PairMaker(run.recipe, source))


def commit_failed(run: Run, plan: Plan, number: int, reason: str) -> None:
    unit.fail_unit(STAGE, run, plan, number, reason)


def run_job(run: Run, plan: Plan, config: Any, runner: Runner) -> job.JobResult:
    return job.run_job(STAGE, run, plan, config, runner)


def run_here(make_source: Callable[[Run], PairSource]) -> Runner:
    def load(run: Run, compute: Compute) -> PairMaker:
        return PairMaker(run.recipe, make_source(run))

    return plain_loop.run_here(generate_stage(load))


def run_on_ray(
    run: Run,
    plan: Plan,
    units: Sequence[int],
    config: Any,
    should_stop: Callable[[], bool],
    make_source: MakeSource | None = None,
) -> Iterator[UnitReport | UnitProblem]:
    from factory.on_ray import units as on_ray

    stage: Stage = generate_stage(loaded(make_source)) if make_source else STAGE
    return on_ray.run_on_ray(stage)(run, plan, units, config, should_stop)
