"""The worker: loads the models once, then makes and commits units."""

import os
import resource
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import ray

from factory.engine.engine import Engine
from factory.errors import EditmillError, first_line
from factory.here import attempt_unit
from factory.plan import Plan
from factory.reports import UnitProblem, UnitReport
from factory.run import Run
from schemas.config import Config

Batch = dict[str, np.ndarray[Any, np.dtype[Any]]]

_EMPTY = UnitReport(unit=-1, accepted=0, rejected=0, failed=0, seconds=0.0, made=False)


class UnitWorker:
    """One engine; Ray calls it from several threads, and all of them feed the one batch.

    Whatever no other unit would escape is sent back as a *fatal* row, which ends the job: an error
    of a constructor would reach the driver as nothing but the death of an actor.
    """

    def __init__(self, run: Run, plan: Plan, config: Config) -> None:
        self.run = run
        self.plan = plan
        self.made = 0
        context = ray.get_runtime_context()
        self.worker = context.get_actor_id() or "none"
        self.gpus = ",".join(context.get_accelerator_ids().get("GPU", []))
        self.engine: Engine | None = None
        self.broken: Exception | None = None
        try:
            self.engine = Engine.for_compute(run.recipe, config.compute)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.broken = error

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One small row per unit."""
        for unit in batch["unit"]:
            yield {name: np.array([value]) for name, value in self._row(int(unit)).items()}

    def _row(self, unit: int) -> dict[str, Any]:
        report: UnitReport | UnitProblem | Exception
        try:
            report = self._attempt(unit)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            if self.made and not isinstance(error, EditmillError):
                # It worked before: a device that went bad. Ray starts another process, which
                # ends the job if it cannot make even one unit.
                os._exit(1)
            report = error
        fields = _EMPTY
        problem, fatal = "", 0
        if isinstance(report, UnitReport):
            self.made += 1
            fields = replace(report)
        elif isinstance(report, UnitProblem):
            problem = report.message
        elif isinstance(report, EditmillError):
            problem, fatal = str(report), report.exit_code
        else:
            problem, fatal = f"worker {self.worker}: {first_line(report)}", EditmillError.exit_code
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = replace(fields, unit=unit, worker=self.worker, gpus=self.gpus, peak_rss_mib=peak)
        return asdict(found) | {"problem": problem, "fatal": fatal}

    def _attempt(self, unit: int) -> UnitReport | UnitProblem:
        if self.engine is None:
            raise self.broken or AssertionError("an engine or a reason")
        return attempt_unit(self.run, self.plan, unit, self.engine)
