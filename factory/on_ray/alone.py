"""A unit that was part of several deaths runs alone, in a process made for it."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError

from factory.ledger.failed import commit_failed
from factory.ledger.strikes import POISON
from factory.on_ray import watch as watching
from factory.on_ray.rows import report_of
from factory.on_ray.watch import Watch
from factory.on_ray.worker import UnitWorker
from factory.reports import UnitProblem, UnitReport

TURNS = 5
"""How often a unit is begun alone in one start, where its nodes are taken away."""
ASK_EVERY_S = 0.5


def run_alone(
    unit: int,
    made_with: Mapping[str, Any],
    resources: Mapping[str, float],
    watch: Watch,
    should_stop: Callable[[], bool],
) -> UnitReport | UnitProblem | None:
    """Make a unit in a fresh process; committed as failed where it kills that one too.

    None where the job wants to stop.
    """
    for _ in range(TURNS):
        if watch.is_poison(unit):
            return give_up(unit, watch)
        name = f"alone-{secrets.token_hex(8)}"
        options = {**resources, "max_restarts": 0, "max_task_retries": 0}
        worker = ray.remote(UnitWorker).options(**options).remote(**made_with, alone=name)
        row = worker.row.remote(unit)
        try:
            while not ray.wait([row], timeout=ASK_EVERY_S)[0]:
                if should_stop():
                    return None
            found = ray.get(row)
            if not found["aside"]:
                return report_of(found)
        except RayActorError:
            pass
        finally:
            ray.kill(worker)
        deaths = ray.get(watch.witness.bury.remote(name))
        time.sleep(watching.SETTLE_S)
        for death in deaths:
            watch.judge(death, alone=True)
    if watch.is_poison(unit):
        return give_up(unit, watch)
    return UnitProblem(unit, f"begun alone {TURNS} times, and its node was lost every time")


def give_up(unit: int, watch: Watch) -> UnitReport:
    """Commit a poison unit as failed."""
    commit_failed(watch.run, watch.plan, unit, POISON)
    failed = watch.plan.size(unit) * watch.run.recipe.candidates
    return UnitReport(
        unit, accepted=0, rejected=0, failed=failed, seconds=0.0, made=False, worker="driver"
    )
