"""What a stage says of itself; everything else is one piece of code for all stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from factory.ledger.laid_out import LayOut
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.ledger.seal import Finish
from factory.ledger.units.outcomes import Outcomes
from factory.ledger.verify.run import CheckDerived, nothing_derived
from factory.ledger.verify.unit import Check, no_check
from schemas.ledger.commit import Manifest
from schemas.ledger.layout import Layout
from schemas.running.pool import Pool


class Maker(Protocol):
    """What a worker loads once; it may be called from several threads at once."""

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """What became of a unit's items, in their order; the same for the same items, wherever it is made.

        An item that fails by itself is a failed outcome; whatever no other unit would escape is raised.
        """

    def close(self) -> None:
        """End what it started; nothing is asked of it afterwards."""


@runtime_checkable
class Metered(Protocol):
    """A maker that says how much its device does, for who watches; others need not."""

    @property
    def rows_run(self) -> int:
        """UNet rows that carried a request so far."""

    @property
    def idle_s(self) -> float | None:
        """Seconds in which its device waited for a request; None where that is not known."""


Derive = Callable[[Run, Plan, Manifest], object]
"""Stores what is derived from a sealed run and nobody need have: whoever lacks it lays it down then."""
Load = Callable[[Run, Any], Maker]
"""Makes a worker's maker, in the worker, of a run and the pool that it is in; it travels by name, so it
lies in a module."""


@dataclass(frozen=True)
class Sealing:
    """What a stage knows of its runs when nothing is made: how they are sealed and verified."""

    check: Check = no_check
    """What is its own of a unit that is verified."""
    finish: Finish | None = None
    """What is made of all outcomes when a run is sealed."""
    derive: Derive | None = None
    """What is stored beside each manifest, derived from what it seals."""
    check_derived: CheckDerived = nothing_derived
    """What is amiss with that."""
    lay_out: LayOut | None = None
    """What is then laid out for readers, at names that they look for."""


@dataclass(frozen=True)
class Stage:
    """A stage: its records, and what is its own of the work on them."""

    layout: Layout
    """Its name and version, and how its runs are stored."""
    load: Load
    fail: Callable[[Run, Sequence[Row], str], Outcomes]
    """What is committed of a unit that is given up, all of it failed for one reason."""
    sealing: Sealing = Sealing()
    silence_s: float = 3600.0
    """A worker that is longer at a unit, and `SILENCE` times as long as the longest took, is given up,
    unless the rows of its device go on (`Metered.rows_run`): units may take hours on a slow one."""
    loading: str = "workers load the models first"
    """What comes before the first unit, told when a job begins; nothing where it is short."""
    advice: str = ""
    """Where to look when a whole run kept nothing."""


SILENCE = 20.0
"""See `Stage.silence_s`."""


class Terms(Protocol):
    """Where a job runs and when it stops."""

    @property
    def compute(self) -> Pool: ...

    @property
    def budget(self) -> Any: ...
