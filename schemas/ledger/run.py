"""What a run is, what it will make, and what happened to its units."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.ledger.commit import Part
from schemas.ledger.layout import Layout
from schemas.record import Record


class RunRecord(Record):
    """RUN.json: written once, says what the folder is."""

    version: int = 1
    recipe: dict[str, object]
    """The recipe with pinned files."""
    recipe_hash: str
    """Of the recipe's identity."""
    LATER: ClassVar[Mapping[str, Any]] = {"stage": None}
    stage: Layout | None = None
    """How the stage's runs are stored; null is `generate`, which began before there was another."""
    commits: Literal["conditional", "sealed"]
    """How a unit's commit is decided: by one conditional PUT, or, on a store where several writers
    may win one, by the sealer's choice among the attempts."""


class PlanRecord(Record):
    """The head of one sequence of a plan; the newest one describes the whole plan."""

    version: int = 1
    first_unit: int
    """Position of the first unit that it adds; 0 for the first sequence."""
    units: int
    """Units of the plan up to and with its own."""
    items: int
    """Distinct items of the plan up to and with its own."""
    duplicates: int
    """Lines of its list that repeated an earlier one."""
    unit_items: int
    """Items per unit; the last unit that a sequence adds may hold fewer."""
    digest: str
    """sha256 over all items up to and with its own, in unit order."""
    parts: tuple[Part, ...]
    """Files of the items that it adds, one a segment."""


class StrikeRecord(Record):
    """A worker process died while a unit ran; its node lived on and was not draining."""

    version: int = 1
    unit: int = Field(ge=0)
    generation: int = Field(ge=0)
    """How often the unit had been opened again; strikes of another generation do not count."""
    alone: bool
    """Whether it was the only unit of a fresh process."""
    worker: str
    node: str
    """Where it ran."""
    seen: float
    """When the driver learnt of it; seconds since 1970, UTC."""


class BatchRecord(Record):
    """How large the batches of a run are, as its first worker found it."""

    batch_pairs: int
    rows_per_s: dict[str, float]
    """Rows of the network a second by pairs in a batch, of the sizes that were tried."""
    device: str
    """On which."""


class RetryRecord(Record):
    """Failed units that were opened again; each write raises their generation by one."""

    version: int = 1
    units: tuple[int, ...]
    """In order."""
    LATER: ClassVar[Mapping[str, Any]] = {"repaired": False, "aside": ()}
    repaired: bool = False
    """Whether they were damaged, and are made anew from all their items."""
    aside: tuple[str, ...] = ()
    """Keys of damaged commits: they stay, and nothing looks at them any more."""
