"""`generate` on Ray Data: unit numbers in, one pool of resident engines, small reports out.

One stage, no pixels in blocks. Workers commit their units themselves, so a block that Ray makes
again, or a node that dies with one, costs at most the units in flight and can never change the
dataset: `generate_unit` is safe to run twice.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from factory.errors import EditmillError
from factory.generate import UnitReport
from factory.job import UnitProblem
from factory.on_ray.session import connect
from factory.on_ray.worker import UnitWorker
from factory.plan import Plan
from factory.run import Run
from schemas.config import Compute, Config

MOST_BLOCKS = 4096
"""Blocks of unit numbers at most; a block is what Ray hands to a worker at once."""


class ClusterFailed(EditmillError):
    """Ray could not run the work; what is committed stays."""


def run_on_ray(
    run: Run, plan: Plan, units: Sequence[int], config: Config
) -> Iterator[UnitReport | UnitProblem]:
    """A runner over a pool of workers; closing it ends the pool.

    Joins Ray at once, before anything is asked for: Ray takes over SIGTERM when it starts, and the
    job takes it back after this call.
    """
    connect(config.compute)
    return _reports(run, plan, units, config)


def _reports(
    run: Run, plan: Plan, units: Sequence[int], config: Config
) -> Iterator[UnitReport | UnitProblem]:
    compute = config.compute
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    # A unit may take hours and a GPU may be long in coming; the run's own budget says when to stop.
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It announces that its own bars are off, which the job's progress line replaces.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = [{"unit": unit} for unit in units]
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
    try:
        for row in reports:
            yield _report(row)
    except RayError as error:
        cause = error.__cause__
        if isinstance(cause, EditmillError):
            raise cause from error
        raise ClusterFailed(f"ray: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def _resources(compute: Compute) -> dict[str, float]:
    """What a worker holds: a share of a GPU, or CPUs; Ray Data advises against naming both."""
    if compute.gpus_per_worker:
        return {"num_gpus": compute.gpus_per_worker}
    return {"num_cpus": compute.cpus_per_worker}


def _report(row: dict[str, Any]) -> UnitReport | UnitProblem:
    if row["problem"]:
        return UnitProblem(int(row["unit"]), str(row["problem"]))
    return UnitReport(
        unit=int(row["unit"]),
        accepted=int(row["accepted"]),
        rejected=int(row["rejected"]),
        failed=int(row["failed"]),
        seconds=float(row["seconds"]),
        made=bool(row["made"]),
        worker=str(row["worker"]),
        gpus=str(row["gpus"]),
        peak_rss_mib=float(row["peak_rss_mib"]),
    )
