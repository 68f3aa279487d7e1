"""The worker: loads the models once, then makes and commits units."""

import json
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import ray

from factory import deeds
from factory.errors import EditmillError, first_line
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.work.reports import UnitProblem, UnitReport
from factory.work.stage import Load, Maker
from factory.work.unit import attempt_unit
from schemas.pool import Pool

Batch = dict[str, np.ndarray[Any, np.dtype[Any]]]

_EMPTY = UnitReport(unit=-1, counts={}, seconds=0.0, made=False)


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
        self.maker: Maker | None = None
        self.broken: Exception | None = None
        try:
            self.maker = load(run, pool)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.broken = error

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One small row per unit."""
        for unit in batch["unit"]:
            yield {name: np.array([value]) for name, value in self.row(int(unit)).items()}

    def row(self, unit: int) -> dict[str, Any]:
        """Make a unit; what became of it in plain values.

        The witness must know of it before it begins, and may have it set aside.
        """
        if not ray.get(self.witness.begin.remote(self.worker, unit, self.alone)):
            return self._described(unit, None)
        try:
            return self._described(unit, self._outcome(unit))
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
        self, unit: int, report: UnitReport | UnitProblem | Exception | None
    ) -> dict[str, Any]:
        fields = _EMPTY
        problem, fatal, damaged, beside = "", 0, False, {"begun": False, "store": False}
        if isinstance(report, UnitReport):
            self.made += 1
            fields = replace(report)
        elif isinstance(report, UnitProblem):
            problem, damaged = report.message, report.damaged
        elif isinstance(report, EditmillError):
            problem, fatal, beside = str(report), report.exit_code, deeds.told(report)
        elif report is not None:
            problem, fatal = f"worker {self.worker}: {first_line(report)}", EditmillError.exit_code
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = replace(fields, unit=unit, worker=self.worker, gpus=self.gpus, peak_rss_mib=peak)
        said = {"problem": problem, "fatal": fatal, "damaged": damaged, "aside": report is None}
        counts = json.dumps(found.counts)
        return asdict(found) | {"counts": counts} | said | beside

    def _attempt(self, unit: int) -> UnitReport | UnitProblem:
        if self.maker is None:
            raise self.broken or AssertionError("a maker or a reason")
        return attempt_unit(self.run, self.plan, unit, self.maker)


def resources(pool: Pool) -> dict[str, float]:
    """What a worker holds: a share of a GPU, or CPUs; Ray Data advises against naming both."""
    if pool.gpus_per_worker:
        return {"num_gpus": pool.gpus_per_worker}
    return {"num_cpus": pool.cpus_per_worker}
