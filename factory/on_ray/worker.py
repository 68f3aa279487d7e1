"""The worker: loads the models once, then makes and commits units."""

import resource
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray

from factory.engine.engine import Engine
from factory.generate import generate_unit
from factory.plan import Plan
from factory.run import Run
from schemas.config import Config

Batch = dict[str, np.ndarray[Any, np.dtype[Any]]]


class UnitWorker:
    """One engine; Ray calls it from several threads, and all of them feed the one batch."""

    def __init__(self, run: Run, plan: Plan, config: Config) -> None:
        self.run = run
        self.plan = plan
        compute = config.compute
        self.engine = Engine(
            run.recipe,
            device=compute.device,
            batch_pairs=compute.batch_pairs,
            decode_pairs=compute.decode_pairs,
            threads=compute.threads,
        )
        context = ray.get_runtime_context()
        self.worker = context.get_actor_id() or "none"
        self.gpus = ",".join(context.get_accelerator_ids().get("GPU", []))

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One small row per unit."""
        for unit in batch["unit"]:
            row = self._make(int(unit)) | {
                "worker": self.worker,
                "gpus": self.gpus,
                "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            yield {name: np.array([value]) for name, value in row.items()}

    def _make(self, unit: int) -> dict[str, Any]:
        row: dict[str, Any] = {"unit": unit, "accepted": 0, "rejected": 0, "failed": 0}
        row |= {"seconds": 0.0, "made": False, "problem": ""}
        try:
            report = generate_unit(self.run, self.plan, unit, self.engine)
        except Exception as error:
            # The unit stays open and the next start takes it; other units go on.
            traceback.print_exc(file=sys.stderr)
            return row | {"problem": f"{type(error).__name__}: {error}"}
        return row | {
            "accepted": report.accepted,
            "rejected": report.rejected,
            "failed": report.failed,
            "seconds": report.seconds,
            "made": report.made,
        }
