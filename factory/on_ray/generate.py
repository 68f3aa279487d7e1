"""`generate` on Ray Data: unit numbers in, one pool of resident engines, small reports out.

One stage, no pixels in blocks. Workers commit their units themselves, so a block that Ray makes
again, or a node that dies with one, costs at most the units in flight and can never change the
dataset: `generate_unit` is safe to run twice.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError

from factory.errors import first_line
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.on_ray.alone import run_alone
from factory.on_ray.rows import ClusterFailed, report_of
from factory.on_ray.session import connect
from factory.on_ray.watch import Watch
from factory.on_ray.worker import MakeSource, UnitWorker, engine_source, resources
from factory.reports import UnitProblem, UnitReport
from schemas.config import Compute, Config

MOST_BLOCKS = 16_384
"""Blocks of unit numbers at most; a block is what Ray hands to a worker at once, so one unit each
keeps the pool busy to the end."""


class _Asked(ExecutionTimeoutError):
    """The job wants to stop; ends Ray Data's own loop, which shows a traceback of any other kind."""


def run_on_ray(
    run: Run,
    plan: Plan,
    units: Sequence[int],
    config: Config,
    should_stop: Callable[[], bool],
    make_source: MakeSource = engine_source,
) -> Iterator[UnitReport | UnitProblem]:
    """A runner over a pool of workers; closing it ends the pool.

    Joins Ray at once, before anything is asked for: Ray takes over SIGTERM when it starts, and the
    job takes it back after this call. Raises `ClusterFailed`, or the error of a worker that no
    other would escape.
    """
    here = config.model_copy(update={"compute": connect(config.compute)})
    return _reports(run, plan, units, here, should_stop, make_source)


def _reports(
    run: Run,
    plan: Plan,
    units: Sequence[int],
    config: Config,
    should_stop: Callable[[], bool],
    make_source: MakeSource,
) -> Iterator[UnitReport | UnitProblem]:
    """Units beside each other; then, if any were set aside, those again or each alone."""
    watch, compute = Watch(run, plan), config.compute
    made_with: dict[str, Any] = {
        "run": run,
        "plan": plan,
        "config": config,
        "make_source": make_source,
    }
    made_with["witness"] = watch.witness
    try:
        open_units = list(units)
        while open_units and not should_stop():
            alone = [unit for unit in open_units if watch.runs_alone(unit)]
            beside = [unit for unit in open_units if not watch.runs_alone(unit)]
            open_units = []
            for row in _pool(beside, made_with, compute, watch, should_stop):
                if row["aside"]:
                    open_units.append(int(row["unit"]))
                else:
                    yield report_of(row)
            for unit in alone:
                if should_stop():
                    return
                report = run_alone(unit, made_with, resources(compute), watch, should_stop)
                if report is not None:
                    yield report
            if open_units and not should_stop():
                watch.settle(should_stop)
    except _Asked:
        return
    except RayError as error:
        raise ClusterFailed(f"ray: {first_line(error)}") from error
    finally:
        watch.close()


def _pool(
    units: Sequence[int],
    made_with: dict[str, Any],
    compute: Compute,
    watch: Watch,
    should_stop: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """The rows of one execution of Ray Data. Raises `_Asked` once the job wants to stop."""
    if not units:
        return
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    # A unit may take hours and a GPU may be long in coming; the job's guards say when to stop.
    context.execution_no_progress_timeout_s = -1
    # Every row leaves its worker at once, or guards and progress would wait for a whole block.
    context.target_max_block_size = 1
    context.custom_execution_callback_classes = [
        *context.custom_execution_callback_classes,
        _stopper(should_stop, watch),
    ]
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It announces that its own bars are off, which the job's progress line replaces.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = [{"unit": unit} for unit in units]
    with DataContext.current(context):
        reports = (
            ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
            .map_batches(
                UnitWorker,
                batch_size=1,
                **resources(compute),
                compute=ActorPoolStrategy(
                    min_size=compute.min_workers,
                    max_size=compute.max_workers,
                    max_tasks_in_flight_per_actor=2 * compute.calls_per_worker,
                    max_concurrent_calls_per_actor=compute.calls_per_worker,
                    enable_true_multi_threading=compute.calls_per_worker > 1,
                ),
                fn_constructor_kwargs=made_with,
            )
            .iter_rows()
        )
    yield from reports


def _stopper(should_stop: Callable[[], bool], watch: Watch) -> type:
    """A callback that Ray Data makes and asks in every round of its loop, some ten times a second."""

    class Stopper:
        def before_execution_starts(self, executor: Any) -> None: ...

        def on_execution_step(self, executor: Any) -> None:
            if should_stop():
                raise _Asked
            watch.look()

        def after_execution_succeeds(self, executor: Any) -> None: ...

        def after_execution_fails(self, executor: Any, error: Exception) -> None: ...

    return Stopper
