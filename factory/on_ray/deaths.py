"""Deaths of a pool's processes, for work that has no strikes: when it is given up."""

import time
from collections import Counter
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from factory.on_ray.ray_internals import draining_nodes
from factory.on_ray.watch import LOOK_EVERY_S, node_stays
from factory.on_ray.witness import Witness

MOST = 5
"""Deaths of one unit, or one after the other before any unit; Ray starts another process for ever."""


class Deaths:
    """Asks a witness, to whom the workers tell what they begin; a context that ends it."""

    def __init__(self) -> None:
        # On the driver's node, so that it lives as long as the driver.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": here}
        self.witness: Any = ray.remote(Witness).options(**options).remote({})
        self._of: Counter[int | None] = Counter()
        self._asked: Any = None
        self._last_look = 0.0

    def __enter__(self) -> "Deaths":
        return self

    def __exit__(self, *_: object) -> None:
        ray.kill(self.witness)

    def look(self) -> None:
        """Asked often; never waits for the witness."""
        now = time.monotonic()
        if self._asked is None and now - self._last_look >= LOOK_EVERY_S:
            self._last_look = now
            self._asked = self.witness.hear.remote(draining_nodes())
        if self._asked is not None and ray.wait([self._asked], timeout=0)[0]:
            asked, self._asked = self._asked, None
            for death in ray.get(asked):
                self._of[death.unit] += node_stays(death.node)

    def lives(self) -> None:
        """A worker came to a unit."""
        self._of[None] = 0

    def gives_up(self) -> str | None:
        """Why no worker is to be waited for any longer, if so."""
        for unit, count in self._of.items():
            if count >= MOST:
                at = "before they came to a unit" if unit is None else f"at unit {unit}"
                return (
                    f"{count} workers' processes died {at}, as where memory is too short for the models; "
                    "run the same command to resume"
                )
        return None
