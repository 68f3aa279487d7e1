"""What `encode` stores: whose latents a root holds, each unit's commit, the list that readers trust."""

from typing import Literal

from pydantic import Field

from schemas.canonical import content_hash
from schemas.fit import Columns
from schemas.record import Record


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

    @property
    def law_hash(self) -> str:
        """sha256, 64 hex digits."""
        return content_hash(self.model_dump(mode="json"))


class EncodingRecord(Record):
    """ENCODE.json: whose latents this root holds, and how they are cut; written once."""

    version: Literal[1] = 1
    """Of this record."""
    law: LatentsLaw
    """What is encoded."""
    unit_rows: int = Field(ge=1)
    """Most rows of a unit; a unit never spans two files of the dataset."""


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


class UnreadableRow(Record):
    """A row whose pictures could not be read; a training passes it over and counts it."""

    row: int = Field(ge=0)
    """Within the unit."""
    why: str
    """What the decoder said."""


class EncodedUnit(Record):
    """What became of a unit's rows: content only, apart from the last bits of the data."""

    unit: int = Field(ge=0)
    """Its place in the dataset."""
    file: str
    """The dataset's file."""
    first: int = Field(ge=0)
    """Its first row, within the file."""
    rows: int = Field(ge=1)
    """How many from there."""
    key: str
    """Where its tensors are, below the root; named by their content."""
    sha256: str
    """Of that object."""
    bytes: int = Field(ge=1)
    """Size of that object."""
    unreadable: tuple[UnreadableRow, ...]
    """Rows that the tensors lack, in order."""


class UnitRecord(Record):
    """A unit's commit: written after its tensors, once."""

    version: Literal[1] = 1
    """Of this record."""
    law_hash: str
    """Of the law that made it."""
    content: EncodedUnit
    """What was made."""
    environment: EncodingEnvironment
    """Where it was made."""


class LatentsRecord(Record):
    """LATENTS.json: the whole set, written last; readers use nothing else."""

    version: Literal[1] = 1
    """Of this record."""
    law: LatentsLaw
    """What was encoded."""
    rows: int = Field(ge=1)
    """Of the dataset."""
    units: tuple[EncodedUnit, ...]
    """All of them, in order."""

    @property
    def unreadable(self) -> int:
        """Rows without latents."""
        return sum(len(unit.unreadable) for unit in self.units)
