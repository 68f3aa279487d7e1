"""A dry run: what a plan will cost, before anything is started."""

from dataclasses import dataclass
from typing import Any

from factory.console.amounts import counted, in_hours, size
from factory.pairs.triplets import TripletList
from schemas.config import Config

# Rough bytes per pixel: flat drawings for PNG, photographs at quality 95 to 100 for JPEG.
_BYTES_PER_PIXEL = {"png": 0.7, "jpeg": 1.2}
_UNIT_BYTES = 48 * 1024
"""Of a unit's two files beside pictures and candidates: up to 40 kB in the miniature's runs, where Parquet
keeps the extremes of small pictures; fewer of large ones."""
_CANDIDATE_BYTES = 256

KEYS = (
    *("triplets", "duplicates", "bad_lines", "units", "candidates", "rows", "gpu_hours"),
    *("storage_bytes", "gpus", "hours", "cost"),
)
"""What machines are told, in this order."""


@dataclass(frozen=True)
class Outlook:
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
    gpus: float
    """How many work; without GPUs, how many CPU workers."""
    on_gpus: bool
    price: float | None
    """Of one of them for an hour."""

    @property
    def hours(self) -> float | None:
        """Until the run is done, start-up not counted; null where the rows per second are not known."""
        return None if self.gpu_hours is None else self.gpu_hours / self.gpus

    @property
    def cost(self) -> float | None:
        """In the currency of the price."""
        hours, price = self.gpu_hours, self.price
        return None if hours is None or price is None else hours * price

    def as_json(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in KEYS}

    def facts(self) -> dict[str, Any]:
        """For a person."""
        many = counted(self.gpus, "GPU" if self.on_gpus else "CPU worker")
        many += ", one for each unit" if 1 < self.units == self.gpus else ""
        facts: dict[str, Any] = {
            "triplets": self.triplets,
            "duplicates": self.duplicates,
            "bad lines": self.bad_lines,
            "units": self.units,
            "candidates": self.candidates,
            "rows": self.rows,
            "stored": f"at most {size(self.storage_bytes)}",
            "time": None if self.hours is None else f"{in_hours(self.hours)} on {many}",
        }
        if self.gpu_hours is not None and self.gpus != 1:
            facts["time of one"] = in_hours(self.gpu_hours)
        if self.price is not None:
            facts["cost"] = None if self.cost is None else f"{self.cost:,.2f}"
        return facts


def counts(triplets: TripletList) -> dict[str, Any]:
    """What is known of a list without a recipe; all else of an outlook is null."""
    return dict.fromkeys(KEYS) | {
        "triplets": len(triplets.triplets),
        "duplicates": triplets.duplicates,
        "bad_lines": len(triplets.bad),
    }


def estimate(
    config: Config,
    triplets: TripletList,
    rows_per_s: float | None = None,
    pair_bytes: float | None = None,
    gpus: int | None = None,
    price: float | None = None,
) -> Outlook:
    """Units, rows, hours and bytes of a whole run; `pair_bytes` is a pair's measured size.

    It runs on `gpus`, or on as many as `compute.max_workers` hold; no more than units need.
    """
    recipe, compute = config.recipe, config.compute
    count = len(triplets.triplets)
    candidates = count * recipe.candidates
    units = -(-count // recipe.unit_triplets)
    rows = candidates * recipe.steps * 4
    kept = count * min(recipe.keep.most, recipe.candidates)
    if pair_bytes is None:
        pair_bytes = 2 * recipe.size_px**2 * _BYTES_PER_PIXEL[recipe.codec.format]
    each = compute.gpus_per_worker or 1
    workers = min(gpus or compute.max_workers * each, units * each)
    return Outlook(
        triplets=count,
        duplicates=triplets.duplicates,
        bad_lines=len(triplets.bad),
        units=units,
        candidates=candidates,
        rows=rows,
        gpu_hours=rows / rows_per_s / 3600 if rows_per_s else None,
        storage_bytes=int(kept * pair_bytes + units * _UNIT_BYTES + candidates * _CANDIDATE_BYTES),
        gpus=int(workers) if workers == int(workers) else workers,
        on_gpus=bool(gpus or compute.gpus_per_worker),
        price=price,
    )
