"""Who runs which unit: workers tell it, and a worker that comes back tells of its own death.

Ray restarts a dead worker and repeats its calls without a word to the driver, so a unit that kills
its process would do so for ever. Here each worker says what it begins before it begins it. Nothing
of this is needed for the dataset to be right, and nothing of it is stored.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from factory.ledger.units.strikes import COMPANY


@dataclass(frozen=True)
class Death:
    """A process died while a unit ran in it, or before it came to any."""

    unit: int | None
    worker: str
    node: str


@dataclass(frozen=True)
class Silent:
    """A process that has been at a unit for longer than any may be."""

    unit: int
    worker: str
    node: str
    process: int


@dataclass
class _Held:
    node: str
    process: int
    units: dict[int, float] = field(default_factory=dict)
    """Each with when it was begun, by this process's clock."""
    moved: float = 0.0
    """When its device was last seen to go on."""
    came_to_any: bool = False


class Witness:
    """An actor beside the driver; all it does is bookkeeping."""

    def __init__(self, strikes: Mapping[int, int]) -> None:
        # Strikes, and deaths that the driver has not judged yet.
        self._deaths_of = Counter(strikes)
        self._held: dict[str, _Held] = {}
        self._deaths: list[Death] = []
        self._draining: frozenset[str] = frozenset()

    def arrive(self, worker: str, node: str, process: int = 0) -> None:
        """A process begins; a former one of the same worker is dead."""
        former = self._held.get(worker)
        if former is not None and not former.came_to_any:
            self._deaths.append(Death(None, worker, former.node))
        self._deaths += self.bury(worker)
        self._held[worker] = _Held(node, process)

    def begin(self, worker: str, unit: int, alone: bool) -> bool:
        """Whether the worker may begin a unit; one that may not is set aside by the driver.

        Not on a node that is about to leave, and not beside others when it was part of several deaths.
        """
        held = self._held[worker]
        held.came_to_any = True
        if held.node in self._draining or (not alone and self._deaths_of[unit] >= COMPANY):
            return False
        held.units[unit] = time.monotonic()
        return True

    def moves(self, worker: str) -> None:
        """Its device went on: however long its units take, it does not hang."""
        held = self._held.get(worker)
        if held is not None:
            held.moved = time.monotonic()

    def end(self, worker: str, unit: int) -> None:
        """The unit was done with, well or not."""
        self._held[worker].units.pop(unit, None)

    def leave(self, worker: str) -> None:
        """The process ends itself for a reason that is none of its units'."""
        self._held[worker].units.clear()

    def bury(self, worker: str) -> list[Death]:
        """The worker's process is dead; returns the deaths of the units that it ran."""
        held = self._held.pop(worker, None)
        deaths = [Death(unit, worker, held.node) for unit in sorted(held.units)] if held else []
        self._deaths_of.update(list(held.units) if held else ())
        return deaths

    def forgive(self, unit: int) -> None:
        """A death was not the unit's doing."""
        self._deaths_of[unit] -= 1

    def silent(self, seconds: float) -> list[Silent]:
        """Who has been at a unit for so long, and whose device has not gone on for as long."""
        latest = time.monotonic() - seconds
        return [
            Silent(unit, worker, held.node, held.process)
            for worker, held in self._held.items()
            for unit, begun in held.units.items()
            if max(begun, held.moved) <= latest
        ]

    def hear(self, draining: Iterable[str]) -> list[Death]:
        """Tell which nodes drain; returns the deaths since the last call."""
        self._draining = frozenset(draining)
        deaths, self._deaths = self._deaths, []
        return deaths
