"""What `encode` stores: whose latents a root holds, what a unit is made of, what became of its rows."""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from schemas.arrow import columns_of
from schemas.ledger.layout import Layout
from schemas.record import Record
from schemas.training.fit import Columns


class LatentsLaw(Record):
    """Everything that decides latents and contexts, up to the last bits of a device."""

    model: dict[str, str]
    """sha256 by file name: the checkpoint without its UNet and noise schedule, and without its own
    autoencoder where another is named; a checkpoint in one file is that file."""
    autoencoder: dict[str, str] | None
    """The same of another autoencoder; null is the built-in one."""
    dtype: Literal["float64", "float32"]
    """Of the frozen networks and of what is stored; a bfloat16 training reads float32."""
    size_px: int
    """As in the training's law."""
    buckets: bool
    """As in the training's law."""
    columns: Columns
    """Which columns were read."""
    dataset: str
    """sha256 over the dataset's prompts and rows, as in FIT.json."""


class Slice(Record):
    """Rows of one file that are encoded and committed at once: what an encoding's plan lists."""

    BESIDE: ClassVar[str] = "count of rows"
    file: str
    """The dataset's file."""
    first: int = Field(ge=0)
    """Its first row, within the file."""
    rows: int = Field(ge=1)
    """How many from there."""

    @property
    def item_id(self) -> str:
        """Tells it from the others."""
        return f"{self.file}:{self.first}"

    @property
    def words(self) -> str:
        """For a message."""
        return f"{self.rows} rows"


class Verdict(StrEnum):
    """What may become of a row."""

    ENCODED = "encoded"
    FAILED = "failed"
    """Its pictures could not be read; a training passes it over and counts it."""


class EncodedRow(Record):
    """What became of a row."""

    row: int = Field(ge=0)
    """Within its slice."""
    verdict: Verdict
    reason: str | None
    """What the decoder said."""


ENCODE = Layout(
    stage="encode",
    version=1,
    items=columns_of(Slice),
    outcomes=columns_of(EncodedRow),
    counts=tuple(Verdict),
    item="slice",
    outcome="row",
    kept="encoded row",
)
"""How a root of latents is stored."""


class EncodingEnvironment(Record):
    """What may change the last bits of a unit; recorded, never part of the law."""

    device: str
    """Processor or GPU model."""
    torch: str
    """Version."""
    threads: int
    """CPU threads."""
    pictures: int
    """Pictures in every pass of the autoencoder, padded where there were fewer."""
