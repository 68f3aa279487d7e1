"""The commit of a unit, and the sealed list of commits that readers trust; of any stage."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from schemas.ledger.tally import Tally
from schemas.record import Record


class StoredObject(Record):
    """One immutable object, named by its content."""

    key: str
    """Key below the root."""
    sha256: str
    """64 hex digits over its bytes."""
    bytes: int = Field(ge=0)
    """Size."""


class DataFile(StoredObject):
    """What a unit left."""

    rows: int = Field(ge=1)


class CommitRecord(Record):
    """The record in a commit's metadata; what varies between equal runs lives here alone."""

    version: int = 1
    unit: int = Field(ge=0)
    """Position in the plan."""
    attempt: str
    """Random id of the try that wrote it, 32 hex digits; tells my commit from another's."""
    recipe_hash: str
    """Of the run."""
    data: DataFile | None
    """Where what it made is; null where nothing is kept."""
    outcomes_sha256: str
    """Over the canonical JSON of the outcome rows."""
    tally: Tally
    """Counts of the outcome rows."""
    environment: dict[str, Any]
    """Where it was made: what may change the last bits, never part of the recipe."""
    started: float
    """Seconds since 1970, UTC."""
    ended: float
    """Seconds since 1970, UTC."""
    LATER: ClassVar[Mapping[str, Any]] = {"earlier": ()}
    earlier: tuple[str, ...] = ()
    """The attempts before it, oldest first, whose failed outcomes it makes anew; see `Layout.retry`."""


class UnitLine(Record):
    """One unit in a manifest: content only."""

    LATER: ClassVar[Mapping[str, Any]] = {"earlier": ""}
    unit: int
    """Position in the plan."""
    outcomes_sha256: str
    """Of its outcome rows."""
    counts: dict[str, int]
    """What became of them."""
    data_key: str | None
    """Where what it made is; null where nothing is kept."""
    data_sha256: str | None
    """Of that object."""
    data_bytes: int | None
    """Size of that object."""
    earlier: str = ""
    """Where failed outcomes alone were made anew: what the commits before it hold, oldest first, as JSON of
    `outcomes_sha256`, `data_key`, `data_sha256`, `data_bytes`."""

    @property
    def objects(self) -> Iterator[tuple[str, str, int]]:
        """Key, sha256 and size of all data that it names."""
        for one in (*json.loads(self.earlier or "[]"), self.model_dump()):
            if one["data_key"] is not None:
                yield one["data_key"], one["data_sha256"], one["data_bytes"]

    def __hash__(self) -> int:
        return hash((self.unit, self.outcomes_sha256, self.data_sha256))


class LedgerLine(UnitLine):
    """One unit in a segment's roll-up: its commit without the outcome rows."""

    generation: int
    """How often the unit had been opened again when it was made; see `RetryRecord`."""
    attempt: str
    """The attempt whose commit counts."""
    commit_sha256: str
    """Of the commit's bytes."""
    tally: str
    """Its tally, as JSON."""
    seconds: float
    """From the start of the attempt to its commit, by its worker's clock."""

    __hash__ = UnitLine.__hash__

    @property
    def content(self) -> UnitLine:
        """What of it goes into a manifest."""
        return UnitLine(**{name: getattr(self, name) for name in UnitLine.model_fields})


class Part(Record):
    """One file of a list that is stored in several."""

    key: str
    """Key below the run."""
    sha256: str
    """Of its bytes."""
    units: int


class Manifest(Record):
    """A sealed run. Equal runs have equal manifests, byte for byte."""

    LATER: ClassVar[Mapping[str, Any]] = {"objects": ()}
    version: int = 1
    recipe_hash: str
    """Of the run."""
    plan_digest: str
    """Of the items in unit order."""
    partial: bool
    """True where units of the plan are still open."""
    units: int
    """Units listed."""
    items: int
    """Items in the listed units."""
    counts: dict[str, int]
    """What became of their outcomes."""
    parts: tuple[Part, ...]
    """The unit lines, in unit order."""
    objects: tuple[StoredObject, ...] = ()
    """What the stage's finish made of the committed outcomes."""
