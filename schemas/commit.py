"""The commit of a unit, and the sealed list of commits that readers trust."""

from pydantic import Field

from schemas.record import Record
from schemas.tally import Tally


class Environment(Record):
    """What may change the last bits of a result; recorded, never part of the recipe."""

    device: str
    """Processor or GPU model."""
    wheels: dict[str, str]
    """Version of each package that computes."""
    batch_pairs: int
    """Pairs in one denoising batch; four rows each."""
    decode_pairs: int
    """Pairs in one decode and score batch."""
    threads: int
    """CPU threads per worker."""
    attention: str
    """Attention implementation."""


class DataFile(Record):
    """One immutable object of accepted pairs."""

    key: str
    """Key below the run."""
    sha256: str
    """64 hex digits over its bytes."""
    bytes: int = Field(ge=0)
    """Size."""
    rows: int = Field(ge=1)
    """Pairs in it."""


class CommitRecord(Record):
    """The record in a commit's metadata; what varies between equal runs lives here alone."""

    version: int = 1
    """Of this record."""
    unit: int = Field(ge=0)
    """Position in the plan."""
    attempt: str
    """Random id of the try that wrote it, 32 hex digits; tells my commit from another's."""
    recipe_hash: str
    """Of the run."""
    pairs: DataFile | None
    """Where the accepted pairs are; null where nothing passed."""
    candidates_sha256: str
    """Over the canonical JSON of the candidate rows."""
    tally: Tally
    """Counts of the candidate rows."""
    environment: Environment
    """Where it was made."""
    started: float
    """Seconds since 1970, UTC."""
    ended: float
    """Seconds since 1970, UTC."""


class UnitLine(Record):
    """One unit in a manifest: content only."""

    unit: int
    """Position in the plan."""
    candidates_sha256: str
    """Of its candidate rows."""
    accepted: int
    """Rows accepted."""
    rejected: int
    """Rows rejected."""
    failed: int
    """Rows failed."""
    pairs_key: str | None
    """Where its pairs are; null where nothing passed."""
    pairs_sha256: str | None
    """Of that object."""
    pairs_bytes: int | None
    """Size of that object."""


class LedgerLine(UnitLine):
    """One unit in a segment's roll-up: its commit without the candidates' rows."""

    generation: int
    """How often the unit had been opened again when it was made; see `RetryRecord`."""
    attempt: str
    """The attempt whose commit counts."""
    commit_sha256: str
    """Of the commit's bytes."""
    tally: str
    """Its `Tally`, as JSON."""
    seconds: float
    """From the start of the attempt to its commit, by its worker's clock."""

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
    """Units in it."""


class Manifest(Record):
    """A sealed dataset. Equal runs have equal manifests, byte for byte."""

    version: int = 1
    """Of this record."""
    recipe_hash: str
    """Of the run."""
    plan_digest: str
    """Of the triplets in unit order."""
    partial: bool
    """True where units of the plan are still open."""
    units: int
    """Units listed."""
    triplets: int
    """Triplets in the listed units."""
    accepted: int
    """Pairs."""
    rejected: int
    """Candidates that were rejected."""
    failed: int
    """Candidates that failed."""
    parts: tuple[Part, ...]
    """The unit lines, in unit order."""
