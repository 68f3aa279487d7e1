"""What `export` may be told, and what it stores: recipe, shards, what became of each file."""

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.arrow import columns_of
from schemas.config import Budget
from schemas.ledger.layout import Layout
from schemas.record import Record
from schemas.running.pool import Pool

Form = Literal["hf", "webdataset", "ip2p", "imagefolder"]
"""Parquet shards as on the Hub, tar shards, the original's folders, pictures with a list beside them."""
SPLITS = ("train", "validation", "test")


class Source(Record):
    """The sealed run, or snapshot, that is exported."""

    uri: str
    """Where it lies. Not part of the identity: the manifest says what it is."""
    manifest_hash: str
    """Of the manifest that was the newest when the export was begun; later ones change nothing."""
    sequence: int = Field(ge=0)
    """That manifest's number."""
    partial: bool
    """Whether it is a snapshot."""
    recipe_hash: str
    """Of the run."""
    plan_digest: str
    """Of its triplets."""

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Without the place."""
        return {name: value for name, value in plain.items() if name != "uri"}


class ExportRecipe(Record):
    """All that decides the bytes of an export, and nothing else."""

    form: Form = "hf"
    """What it is to be read by."""
    source: Source | None = None
    """What is exported; filled when the export is begun."""
    validation: float = Field(0.05, ge=0, le=0.5)
    """Share of the prompts in this split; 0 makes none."""
    test: float = Field(0.05, ge=0, le=0.5)
    """The same."""
    shard_mb: int = Field(400, ge=1, le=5000)
    """Megabytes of a shard, about; in memory of a worker is one of them. Of `ip2p` and `imagefolder`, whose
    files are single pictures, what a worker stores and commits at once."""
    group_rows: int = Field(100, ge=1, le=100)
    """Most rows of a Parquet row group: what a reader of one row must fetch at least."""
    title: str | None = None
    """Of the card; null is a general one."""
    licence: str | None = None
    """Of the dataset, as the Hub names licences, such as `cc-by-4.0`; null says that none was given."""
    price_per_gpu_hour: float | None = Field(None, ge=0)
    """For the card: what a worker's hour of the run cost, in any currency; null names no price."""
    made: str = "{}"
    """How the source was made, as JSON of `factory.export.facts`; filled when the export is begun."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "ExportRecipe":
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation and test must leave some for train, got {self.validation} and {self.test}"
            )
        return self

    @classmethod
    def known(cls, recipe: Any) -> "ExportRecipe":
        """A run's, which may be plain JSON where it was opened by who knew no stage."""
        return recipe if isinstance(recipe, cls) else cls.read(recipe)


class ExportCompute(Pool):
    """Where shards are written; it changes no byte."""

    where: Literal["ray", "here"] = "here"
    """As in a pool; `ray` writes with several workers."""
    device: str = Field("cpu", pattern=r"^cpu$")
    """No shard needs another."""
    gpus_per_worker: float = Field(0.0, ge=0, le=0)
    """The same."""


class Export(Record):
    """A whole configuration of `export`."""

    recipe: ExportRecipe = ExportRecipe()
    """What is made."""
    compute: ExportCompute = ExportCompute()
    """Where and how wide."""
    budget: Budget = Budget()
    """When to stop."""


class Shard(Record):
    """Pairs that are stored and committed together: what a plan lists."""

    BESIDE: ClassVar[str] = "pairs"
    name: str
    """`train-00000-of-00004`."""
    split: str
    pairs: int
    """How many it holds."""
    first: int
    """How many triplets are in the shards before it, over all splits."""
    pieces: str
    """JSON: key and sha256 of each file of the source, and the rows of it, in order."""

    @property
    def item_id(self) -> str:
        """Its name in a plan."""
        return self.name

    @property
    def words(self) -> str:
        """For a message."""
        return f"{self.pairs} pairs"


class Verdict(StrEnum):
    """What may become of a file."""

    STORED = "stored"
    FAILED = "failed"


class ExportRow(Record):
    """One row of a commit: a file at its key; a shard's first row speaks of the whole shard."""

    shard: str
    split: str
    key: str
    """Below the output."""
    sha256: str | None
    """Of the file; null where none was stored."""
    bytes: int | None
    pairs: int
    """Of the shard, in its first row; else 0."""
    facts: str | None
    """JSON: what cards and indices are made of."""
    verdict: Verdict
    reason: str | None
    """Why it failed."""


class ExportEnvironment(Record):
    """Where a shard was made: what may change its bytes."""

    device: str
    """`cpu`, or `none` where nothing was made."""
    wheels: dict[str, str]


EXPORT = Layout(
    stage="export",
    version=1,
    items=columns_of(Shard),
    outcomes=columns_of(ExportRow),
    counts=("stored", "failed"),
    marks=("pairs",),
    named=True,
    finishes=True,
    item="shard",
    outcome="file",
    kept="file",
)
