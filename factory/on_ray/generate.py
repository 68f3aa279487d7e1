"""`generate` on Ray Data: unit numbers in, one pool of resident engines, small reports out.

One stage, no pixels in blocks. Workers commit their units themselves, so a block that Ray makes
again, or a node that dies with one, costs at most the units in flight and can never change the
dataset: `generate_unit` is safe to run twice.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from factory.errors import EditmillError, InputError, first_line
from factory.on_ray.session import connect
from factory.on_ray.worker import UnitWorker
from factory.plan import Plan
from factory.reports import UnitProblem, UnitReport
from factory.run import Run
from schemas.config import Compute, Config

MOST_BLOCKS = 16_384
"""Blocks of unit numbers at most; a block is what Ray hands to a worker at once, so one unit each
keeps the pool busy to the end."""


class ClusterFailed(EditmillError):
    """Ray could not run the work; what is committed stays."""


class _Asked(Exception):
    """The job wants to stop; ends Ray Data's own loop."""


def run_on_ray(
    run: Run, plan: Plan, units: Sequence[int], config: Config, should_stop: Callable[[], bool]
) -> Iterator[UnitReport | UnitProblem]:
    """A runner over a pool of workers; closing it ends the pool.

    Joins Ray at once, before anything is asked for: Ray takes over SIGTERM when it starts, and the
    job takes it back after this call. Raises `ClusterFailed`, or the error of a worker that no
    other would escape.
    """
    compute = connect(config.compute)
    return _reports(run, plan, units, config.model_copy(update={"compute": compute}), should_stop)


def _reports(
    run: Run, plan: Plan, units: Sequence[int], config: Config, should_stop: Callable[[], bool]
) -> Iterator[UnitReport | UnitProblem]:
    compute = config.compute
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    # A unit may take hours and a GPU may be long in coming; the job's guards say when to stop.
    context.execution_no_progress_timeout_s = -1
    # Every row leaves its worker at once, or guards and progress would wait for a whole block.
    context.target_max_block_size = 1
    context.custom_execution_callback_classes = [
        *context.custom_execution_callback_classes,
        _stopper(should_stop),
    ]
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It announces that its own bars are off, which the job's progress line replaces.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = [{"unit": unit} for unit in units]
    try:
        with DataContext.current(context):
            reports = (
                ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
                .map_batches(
                    UnitWorker,
                    batch_size=1,
                    **_resources(compute),
                    compute=ActorPoolStrategy(
                        min_size=compute.min_workers,
                        max_size=compute.max_workers,
                        max_tasks_in_flight_per_actor=2 * compute.calls_per_worker,
                        max_concurrent_calls_per_actor=compute.calls_per_worker,
                        enable_true_multi_threading=compute.calls_per_worker > 1,
                    ),
                    fn_constructor_kwargs={"run": run, "plan": plan, "config": config},
                )
                .iter_rows()
            )
        for row in reports:
            yield _report(row)
    except _Asked:
        return
    except RayError as error:
        raise ClusterFailed(f"ray: {first_line(error)}") from error


def _stopper(should_stop: Callable[[], bool]) -> type:
    """A callback that Ray Data makes and asks in every round of its loop, some ten times a second."""

    class Stopper:
        def before_execution_starts(self, executor: Any) -> None: ...

        def on_execution_step(self, executor: Any) -> None:
            if should_stop():
                raise _Asked

        def after_execution_succeeds(self, executor: Any) -> None: ...

        def after_execution_fails(self, executor: Any, error: Exception) -> None: ...

    return Stopper


def _resources(compute: Compute) -> dict[str, float]:
    """What a worker holds: a share of a GPU, or CPUs; Ray Data advises against naming both."""
    if compute.gpus_per_worker:
        return {"num_gpus": compute.gpus_per_worker}
    return {"num_cpus": compute.cpus_per_worker}


def _report(row: dict[str, Any]) -> UnitReport | UnitProblem:
    fatal, problem = int(row["fatal"]), str(row["problem"])
    if fatal == InputError.exit_code:
        raise InputError(problem)
    if fatal:
        raise ClusterFailed(problem)
    if problem:
        return UnitProblem(int(row["unit"]), problem)
    # Ray hands back NumPy's scalars.
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    return UnitReport(
        **{
            f.name: kinds[str(getattr(f.type, "__name__", f.type))](row[f.name])
            for f in fields(UnitReport)
        }
    )
