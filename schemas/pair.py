"""A pair: an accepted candidate with its two images, under the published column names."""

from schemas.arrow import Image
from schemas.record import Record


class Pair(Record):
    """One row of a pairs file; columns as in `timbrooks/instructpix2pix-clip-filtered`, then ours."""

    original_prompt: str
    """Caption before."""
    original_image: Image
    """Picture before."""
    edit_prompt: str
    """The instruction."""
    edited_prompt: str
    """Caption after."""
    edited_image: Image
    """Picture after."""
    edit_kind: str | None
    """What the edit changes; null when not known."""
    triplet_id: str
    """16 hex digits."""
    index: int
    """Which candidate of its triplet."""
    seed: int
    """Root of the candidate's noise."""
    p2p_threshold: float
    """p, 0..1."""
    cfg_scale: float
    """Guidance scale."""
    clip_sim_0: float
    """Original image against original prompt."""
    clip_sim_1: float
    """Edited image against edited prompt."""
    clip_sim_dir: float
    """Change of image against change of prompt."""
    clip_sim_image: float
    """Original image against edited image."""
