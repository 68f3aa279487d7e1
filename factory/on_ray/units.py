"""Units of any stage on Ray Data: unit numbers in, one pool of resident makers, small reports out.

One Ray stage, no pixels or tensors in blocks. Workers commit their units themselves, so a block that Ray
makes again, or a node that dies with one, costs at most the units in flight and can never change what is
made: `make_unit` is safe to run twice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ray.exceptions import RayError

from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.on_ray.alone import run_alone
from factory.on_ray.metrics import DriverMeter
from factory.on_ray.pool import StopAsked, rows_of
from factory.on_ray.rows import ClusterFailed, report_of
from factory.on_ray.session import connect
from factory.on_ray.watch import Watch
from factory.on_ray.words import plain
from factory.on_ray.worker import UnitWorker, resources
from factory.work.reports import Runner, UnitProblem, UnitReport
from factory.work.stage import Stage, Terms
from schemas.running.pool import Pool


def run_on_ray(stage: Stage) -> Runner:
    """A runner over a pool of workers; closing it ends the pool.

    It joins Ray at once, before anything is asked for: Ray takes over SIGTERM when it starts, and the
    job takes it back after this call. Raises `ClusterFailed`, or the error of a worker that no
    other would escape.
    """

    def runner(
        run: Run,
        plan: Plan,
        units: Sequence[int],
        terms: Terms,
        should_stop: Callable[[], bool],
    ) -> Iterator[UnitReport | UnitProblem]:
        return _reports(stage, run, plan, units, connect(terms.compute), should_stop)

    return runner


def _reports(
    stage: Stage,
    run: Run,
    plan: Plan,
    units: Sequence[int],
    pool: Pool,
    should_stop: Callable[[], bool],
) -> Iterator[UnitReport | UnitProblem]:
    """Units beside each other; then, if any were set aside, those again or each alone."""
    watch = Watch(stage, run, plan)
    made_with: dict[str, Any] = {"run": run, "plan": plan, "pool": pool, "load": stage.load}
    made_with["witness"] = watch.witness
    meter = DriverMeter(run, len(units), watch.deaths)
    meter.begin()
    try:
        open_units = list(units)
        while open_units and not should_stop():
            alone = [unit for unit in open_units if watch.runs_alone(unit)]
            beside = [unit for unit in open_units if not watch.runs_alone(unit)]
            open_units = []
            for row in _pool(beside, made_with, pool, watch, should_stop):
                report = row["report"]
                watch.lives(report["seconds"] if report and report["made"] else 0.0)
                if row["aside"]:
                    open_units.append(row["unit"])
                else:
                    meter.open_units -= 1
                    yield report_of(row)
            for unit in alone:
                if should_stop():
                    return
                end = run_alone(unit, made_with, resources(pool), watch, should_stop)
                if end is not None:
                    meter.open_units -= 1
                    yield end
            if open_units and not should_stop():
                watch.settle(should_stop)
    except StopAsked:
        if why := watch.gives_up():
            raise ClusterFailed(why) from None
    except RayError as error:
        raise ClusterFailed(f"ray: {plain(error)}") from error
    finally:
        meter.close()
        watch.close()


def _pool(
    units: Sequence[int],
    made_with: dict[str, Any],
    pool: Pool,
    watch: Watch,
    should_stop: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """The rows of one execution of Ray Data. Raises `StopAsked` once the job wants to stop."""

    def look() -> bool:
        watch.look()
        return should_stop() or watch.gives_up() is not None

    if not units:
        return
    workers = (pool.min_workers, pool.max_workers)
    yield from rows_of(units, UnitWorker, made_with, resources(pool), workers, look, pool.calls)
