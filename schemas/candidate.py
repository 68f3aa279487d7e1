"""A candidate: one try at a pair, and what came of it."""

from enum import StrEnum

from pydantic import Field

from schemas.record import Record


class Verdict(StrEnum):
    """What became of a candidate."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"


class Scores(Record):
    """The original's four similarities, cosines in -1..1."""

    clip_sim_0: float
    """Original image against original prompt."""
    clip_sim_1: float
    """Edited image against edited prompt."""
    clip_sim_dir: float
    """Change of image against change of prompt; 0 where the prompts are equal."""
    clip_sim_image: float
    """Original image against edited image."""


class Candidate(Record):
    """One row of a commit: every candidate is here, kept or not."""

    triplet_id: str
    """Which triplet, 16 hex digits."""
    index: int = Field(ge=0)
    """Which try, 0..candidates-1."""
    seed: int = Field(ge=0, lt=2**63)
    """Root of the candidate's noise."""
    p2p_threshold: float = Field(ge=0, le=1)
    """p: self-attention is shared at step i while p > i / (steps - 1)."""
    cfg_scale: float = Field(ge=0)
    """Guidance scale of both images."""
    clip_sim_0: float | None
    """This and the next three: see `Scores`; null when the candidate failed."""
    clip_sim_1: float | None
    clip_sim_dir: float | None
    clip_sim_image: float | None
    verdict: Verdict
    reason: str | None
    """The gates that rejected it, `keep` when better ones filled the triplet, the error when it
    failed; null when accepted."""
    borderline: bool
    """A score lies within the recipe's margin of its threshold."""
    truncated: bool
    """A prompt was longer than a text encoder's limit and was cut."""
