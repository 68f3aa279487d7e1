"""A dry run: what a plan will cost, before anything is started."""

from dataclasses import asdict, dataclass
from typing import Any

from factory.triplets import TripletList
from schemas.config import Config

# Rough bytes per pixel: flat drawings for PNG, photographs at quality 95 to 100 for JPEG.
_BYTES_PER_PIXEL = {"png": 0.7, "jpeg": 1.2}
_UNIT_BYTES = 48 * 1024
"""Of a unit's two files beside pictures and candidates: up to 40 kB in the miniature's runs, where Parquet
keeps the extremes of small pictures; fewer of large ones."""
_CANDIDATE_BYTES = 256


@dataclass(frozen=True)
class Estimate:
    """Counts are exact; hours scale with the rows per second given, storage is an upper bound."""

    triplets: int
    duplicates: int
    bad_lines: int
    units: int
    candidates: int
    rows: int
    """UNet forwards of one latent: candidates x steps x 4."""
    gpu_hours: float | None
    """At `rows_per_s` per worker; null where it is not known."""
    storage_bytes: int
    """Where every triplet keeps its most pairs."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def estimate(
    config: Config,
    triplets: TripletList,
    rows_per_s: float | None = None,
    pair_bytes: float | None = None,
) -> Estimate:
    """Units, rows, hours and bytes of a whole run; `pair_bytes` is a pair's measured size."""
    recipe = config.recipe
    count = len(triplets.triplets)
    candidates = count * recipe.candidates
    units = -(-count // recipe.unit_triplets)
    rows = candidates * recipe.steps * 4
    kept = count * min(recipe.keep.most, recipe.candidates)
    if pair_bytes is None:
        pair_bytes = 2 * recipe.size_px**2 * _BYTES_PER_PIXEL[recipe.codec.format]
    return Estimate(
        triplets=count,
        duplicates=triplets.duplicates,
        bad_lines=len(triplets.bad),
        units=units,
        candidates=candidates,
        rows=rows,
        gpu_hours=rows / rows_per_s / 3600 if rows_per_s else None,
        storage_bytes=int(kept * pair_bytes + units * _UNIT_BYTES + candidates * _CANDIDATE_BYTES),
    )
