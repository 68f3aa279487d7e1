"""The worker: loads the models once, then makes and commits units."""

import json
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import ray

from factory import deeds
from factory.errors import EditmillError, first_line
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.on_ray.metrics import WorkerMeter
from factory.work.reports import UnitProblem, UnitReport
from factory.work.stage import Load, Maker
from factory.work.unit import attempt_unit
from schemas.running.pool import Pool

RayBatch = dict[str, np.ndarray[Any, np.dtype[Any]]]


class UnitWorker:
    """One maker; Ray calls it from several threads, and all of them feed its one batch.

    Whatever no other unit would escape is sent back as a *fatal* row, which ends the job: an error
    of a constructor would reach the driver as nothing but the death of an actor.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        pool: Pool,
        load: Load,
        witness: Any,  # a handle of the actor, which has no type of its own
        alone: str = "",
    ) -> None:
        """`alone` names a worker that is made for one unit."""
        deeds.anew()
        self.run = run
        self.plan = plan
        self.made = 0
        context = ray.get_runtime_context()
        self.worker = alone or context.get_actor_id() or "none"
        self.alone = bool(alone)
        self.witness = witness
        ray.get(witness.arrive.remote(self.worker, context.get_node_id(), os.getpid()))
        self.gpus = ",".join(context.get_accelerator_ids().get("GPU", []))
        self.meter = WorkerMeter(run, plan)
        self.meter.begin()
        self.maker: Maker | None = None
        self.broken: Exception | None = None
        try:
            self.maker = load(run, pool)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.broken = error
        self.meter.moves = lambda: witness.moves.remote(self.worker)
        self.meter.maker = self.maker

    def __call__(self, batch: RayBatch) -> Iterator[RayBatch]:
        """One small row per unit, as JSON: Ray would hand back NumPy's scalars."""
        for unit in batch["unit"]:
            yield {"row": np.array([json.dumps(self.row(int(unit)))])}

    def row(self, unit: int) -> dict[str, Any]:
        """Make a unit; what became of it in plain values.

        The witness must know of it before it begins, and may have it set aside.
        """
        if not ray.get(self.witness.begin.remote(self.worker, unit, self.alone)):
            return self._described(unit, None)
        try:
            with self.meter.in_hand():
                outcome = self._outcome(unit)
            self.meter.see(outcome)
            return self._described(unit, outcome)
        finally:
            self.witness.end.remote(self.worker, unit)

    def _outcome(self, unit: int) -> UnitReport | UnitProblem | Exception:
        try:
            return self._attempt(unit)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            if self.made and not isinstance(error, EditmillError):
                # It worked before: a device that went bad. Ray starts another process, which
                # ends the job if it cannot make even one unit.
                ray.get(self.witness.leave.remote(self.worker))
                os._exit(1)
            return error

    def _described(
        self, unit: int, outcome: UnitReport | UnitProblem | Exception | None
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"unit": unit, "aside": outcome is None}
        row |= {"report": None, "problem": "", "fatal": 0}
        if isinstance(outcome, UnitReport):
            self.made += 1
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            beside = {"worker": self.worker, "gpus": self.gpus, "peak_rss_mib": peak}
            row["report"] = asdict(outcome) | beside
        elif isinstance(outcome, UnitProblem):
            row |= {"problem": outcome.message, "damaged": outcome.damaged}
        elif isinstance(outcome, EditmillError):
            row |= {"problem": str(outcome), "fatal": outcome.exit_code, **deeds.standing(outcome)}
        elif outcome is not None:
            row["problem"] = f"worker {self.worker}: {first_line(outcome)}"
            row["fatal"] = EditmillError.exit_code
        return row

    def _attempt(self, unit: int) -> UnitReport | UnitProblem:
        if self.maker is None:
            raise self.broken or AssertionError("a maker or a reason")
        return attempt_unit(self.run, self.plan, unit, self.maker)


def resources(pool: Pool) -> dict[str, float]:
    """What a worker holds: a share of a GPU, or CPUs; Ray Data advises against naming both."""
    if pool.gpus_per_worker:
        return {"num_gpus": pool.gpus_per_worker}
    return {"num_cpus": pool.cpus_per_worker}
