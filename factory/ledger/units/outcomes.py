"""What came of a unit, before it is committed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.ledger.layout import Layout
from schemas.ledger.tally import Tally
from schemas.record import Record


@dataclass(frozen=True)
class Data:
    """What a unit leaves beside its outcomes, as one object."""

    bytes: bytes
    rows: int
    ending: str = "parquet"


@dataclass(frozen=True)
class Outcomes:
    """Rows and data of a unit's items."""

    rows: Sequence[Record]
    """Of the layout's columns, one or more an item, in their order; never none."""
    tally: Tally
    environment: Record
    data: Data | None = None
    """None where nothing is kept."""
    objects: Mapping[str, bytes] = field(default_factory=dict)
    """By key beside the run, of a stage that names them; a row names its own by `key`, `sha256` and, where
    it has one, `bytes`."""
    taken: str = Layout.FAILED
    """The verdict of a row at whose key something of another's stands once it is to be stored."""
