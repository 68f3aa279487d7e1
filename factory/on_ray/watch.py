"""The driver's watch over its workers' deaths: which are strikes, and which units run alone."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from factory.console.say import say
from factory.errors import ObjectMissing, StorageUnavailable
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.strikes import is_poison, read_strikes, runs_alone, write_strike
from factory.on_ray.metrics import NODE, PROCESS
from factory.on_ray.ray_internals import draining_nodes
from factory.on_ray.witness import Death, Silent, Witness
from factory.work.stage import SILENCE, Stage
from schemas.ledger.run import StrikeRecord

LOOK_EVERY_S = 1.0
SETTLE_S = 5.0
"""A node that is lost may look alive for a moment; a death is judged this much later.

Enough for a worker of the pool, of whose death its successor tells: Ray starts that once it knows of
the death, from a node that lives or because the node is given up. And two such strikes cost a unit
its company, no more.
"""
MOST_STILLBORN = 5
"""Processes that may die one after the other without one coming to a unit; Ray starts another for ever."""
END_AGAIN_S = 15.0
"""The task that ends a process that hangs may die before it does; then another one is sent."""
PROOF_S = 30.0
"""So long a node has to show that it lives. Ray gives a silent one up after 15 s."""


@dataclass
class Watch:
    """Asks the witness, judges deaths, writes strikes; one for each start."""

    stage: Stage
    run: Run
    plan: Plan
    strikes: dict[int, list[StrikeRecord]] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    """Of workers in this start, by cause."""
    _unjudged: list[tuple[float, Death]] = field(default_factory=list)
    _asked: Any = None
    _silent: Any = None
    _last_look: float = 0.0
    _stillborn: int = 0
    _longest: float = 0.0
    _ended: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each process that hangs was last ended."""

    def __post_init__(self) -> None:
        self.strikes = read_strikes(self.run.store)
        counts = {unit: len(self._counted(unit)) for unit in self.strikes}
        # On the driver's node, so that it lives as long as the driver.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": here}
        self.witness = ray.remote(Witness).options(**options).remote(counts)

    def close(self) -> None:
        """No more deaths are of interest."""
        ray.kill(self.witness)

    def lives(self, seconds: float = 0.0) -> None:
        """A worker came to a unit, and took so long for it."""
        self._stillborn = 0
        self._longest = max(self._longest, seconds)

    @property
    def silence_s(self) -> float:
        """So long a worker may be at a unit."""
        return max(self.stage.silence_s, SILENCE * self._longest)

    def gives_up(self) -> str | None:
        """Why no worker is to be waited for any longer, if so."""
        if self._stillborn < MOST_STILLBORN:
            return None
        return (
            f"{self._stillborn} workers' processes died one after the other before they came to a unit, as "
            "where memory is too short for the models; run the same command to resume"
        )

    def hangs(self, worker: str) -> bool:
        """Whether a worker has been at a unit for too long."""
        silent = ray.get(self.witness.silent.remote(self.silence_s))
        return any(one.worker == worker for one in silent)

    def runs_alone(self, unit: int) -> bool:
        """Whether a unit may no longer run beside others."""
        return runs_alone(self.strikes.get(unit, []), self.plan.generation(unit))

    def is_poison(self, unit: int) -> bool:
        """Whether a unit is to be given up."""
        return is_poison(self.strikes.get(unit, []), self.plan.generation(unit))

    def look(self) -> None:
        """Asked often; never waits for the witness, and judges what is due."""
        now = time.monotonic()
        if self._asked is None and now - self._last_look >= LOOK_EVERY_S:
            self._last_look = now
            self._asked = self.witness.hear.remote(draining_nodes())
            self._silent = self.witness.silent.remote(self.silence_s)
        if self._asked is not None and ray.wait([self._asked], timeout=0)[0]:
            self._hear()
        if self._silent is not None and ray.wait([self._silent], timeout=0)[0]:
            silent, self._silent = ray.get(self._silent), None
            for one in silent:
                self._end(one)
        self._judge_due()

    def settle(self, should_stop: Callable[[], bool]) -> None:
        """Wait until every death is judged, or the job wants to stop."""
        if self._asked is None:
            self._asked = self.witness.hear.remote(draining_nodes())
        self._hear()
        while self._unjudged and not should_stop():
            time.sleep(max(0.0, self._unjudged[0][0] - time.monotonic()))
            self._judge_due()

    def judge(self, death: Death, *, alone: bool) -> bool:
        """Whether a death is a strike, which is then written. Raises `StorageError`."""
        stays = node_stays(death.node)
        if death.unit is None:
            self.deaths[PROCESS if stays else NODE] += 1
            self._stillborn += stays
            return False
        if not stays or self._is_committed(death.unit):
            self.deaths[PROCESS if stays else NODE] += 1
            self.witness.forgive.remote(death.unit)
            return False
        unit, generation = death.unit, self.plan.generation(death.unit)
        record = write_strike(
            self.run.store, unit, generation, alone=alone, worker=death.worker, node=death.node
        )
        self.strikes.setdefault(unit, []).append(record)
        self.deaths[PROCESS] += 1
        return True

    def _end(self, silent: Silent) -> None:
        """End a process that hangs; its successor tells of its death, which is a strike as any other."""
        process, now = (silent.node, silent.process), time.monotonic()
        last = self._ended.get(process)
        if last is not None and now - last < END_AGAIN_S:
            return
        self._ended[process] = now
        if last is None:
            say(
                f"unit {silent.unit}: its worker has said nothing for {self.silence_s:.0f} s and is ended; "
                "another one takes it"
            )
        there = NodeAffinitySchedulingStrategy(silent.node, soft=False)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
        ray.remote(_kill).options(**options).remote(silent.process)

    def _hear(self) -> None:
        asked, self._asked = self._asked, None
        due = time.monotonic() + SETTLE_S
        self._unjudged += [(due, death) for death in ray.get(asked)]

    def _judge_due(self) -> None:
        now = time.monotonic()
        while self._unjudged and self._unjudged[0][0] <= now:
            _, death = self._unjudged.pop(0)
            try:
                self.judge(death, alone=False)
            except StorageUnavailable:
                # Later; a strike too few costs another restart, no more.
                self._unjudged.append((now + SETTLE_S, death))
                return

    def _counted(self, unit: int) -> list[StrikeRecord]:
        generation = self.plan.generation(unit)
        return [one for one in self.strikes.get(unit, []) if one.generation == generation]

    def _is_committed(self, unit: int) -> bool:
        """It may have died a moment after."""
        try:
            find_commit(self.run, self.plan, unit)
        except ObjectMissing:
            return False
        return True


def node_stays(node: str) -> bool:
    """Whether a node lives and has no notice to leave."""
    alive = any(entry["NodeID"] == node and entry["Alive"] for entry in ray.nodes())
    return alive and node not in draining_nodes()


def node_answers(node: str, should_stop: Callable[[], bool]) -> bool:
    """Whether a node shows that it lives, by a task; waits `PROOF_S` at most.

    What is lost without a word, the worker first, would else be taken for alive until Ray's health
    checks have failed often enough.
    """
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    answer = (
        ray.remote(_here).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()
    )
    until = time.monotonic() + PROOF_S
    while time.monotonic() < until and not should_stop():
        if ray.wait([answer], timeout=LOOK_EVERY_S)[0]:
            try:
                return bool(ray.get(answer) == node)
            except RayError:
                return False
    ray.cancel(answer)
    return False


def _kill(process: int) -> None:
    # Only a worker of Ray's: a number may be another's by now.
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(process)
        if "ray::" in " ".join(found.cmdline()):
            found.kill()


def _here() -> str:
    return str(ray.get_runtime_context().get_node_id())
