"""A unit that was part of several deaths runs alone, in a process made for it."""

import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from factory.ledger.units.attempts import find_commit
from factory.ledger.units.strikes import POISON
from factory.on_ray import watch as watching
from factory.on_ray.rows import report_of
from factory.on_ray.watch import Watch, node_answers
from factory.on_ray.worker import UnitWorker
from factory.work.reports import UnitProblem, UnitReport
from factory.work.unit import fail_unit

TURNS = 5
"""How often a unit is begun alone in one start, where its nodes are taken away."""
ASK_EVERY_S = 0.5
ASKS = 60
"""How often a worker is asked that cannot be reached, and is not known to be dead either."""


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
        died = False
        try:
            found = _row(worker, unit, partial(watch.hangs, name), should_stop)
            if found is None:
                return None
            if not found["aside"]:
                return report_of(found)
        except TimeoutError:
            died = True
        except RayActorError as error:
            died = not isinstance(error, ActorUnavailableError)
        finally:
            ray.kill(worker)
        deaths = ray.get(watch.witness.bury.remote(name))
        time.sleep(watching.SETTLE_S)
        for death in deaths:
            if died and node_answers(death.node, should_stop):
                watch.judge(death, alone=True)
            else:
                watch.witness.forgive.remote(death.unit)
        if should_stop():
            return None
    if watch.is_poison(unit):
        return give_up(unit, watch)
    return UnitProblem(
        unit, f"begun alone {TURNS} times, and its node or the way to it was lost every time"
    )


def _row(
    worker: Any, unit: int, hangs: Callable[[], bool], should_stop: Callable[[], bool]
) -> dict[str, Any] | None:
    """What became of the unit; None where the job wants to stop.

    A worker that cannot be reached for a moment may live, and still be making the unit: it is asked
    again, and answers with the commit once it has one. Raises `RayActorError`, which is an
    `ActorUnavailableError` where nobody could say whether it died, `ASKS` times, and `TimeoutError` where
    it has said nothing for too long.
    """
    asked = 0
    while True:
        row = worker.row.remote(unit)
        while not ray.wait([row], timeout=ASK_EVERY_S)[0]:
            if should_stop():
                return None
            if hangs():
                raise TimeoutError
        try:
            return dict(ray.get(row))
        except ActorUnavailableError:
            asked += 1
            if asked == ASKS or should_stop():
                raise
            time.sleep(ASK_EVERY_S)


def give_up(unit: int, watch: Watch) -> UnitReport:
    """Commit a poison unit as failed."""
    fail_unit(watch.stage, watch.run, watch.plan, unit, POISON)
    counts = find_commit(watch.run, watch.plan, unit).record.tally.total
    return UnitReport(unit, counts, seconds=0.0, made=False, worker="driver")
