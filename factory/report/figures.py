"""What a report says of a whole run in numbers, however long it is: exact, by one pass over its scores."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.pairs.recount import Recount
from factory.pairs.scores import SIMILARITIES, ScoredTriplets
from factory.pairs.selection import gates
from schemas.recipe import Recipe

STEPS = ("triplets", "candidates", "made", *SIMILARITIES, "kept")
"""Of the funnel: what is left after each."""
GATE_OF = {
    "clip_sim_0": "text",
    "clip_sim_1": "text",
    "clip_sim_dir": "direction",
    "clip_sim_image": "image",
}
"""Each similarity's gate in `recipe.thresholds`."""


@dataclass
class Figures:
    """Counts over all triplets that a manifest lists."""

    recipe: Recipe
    counted: Recount = field(default_factory=Recount)
    left: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))
    """Candidates by the step of the funnel that they came through."""
    failing: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIMILARITIES, 0))
    """Candidates below each gate; one may be below several."""

    def add(self, scored: ScoredTriplets, kinds: NDArray[np.object_]) -> None:
        """Count some triplets, of these kinds."""
        self.counted.add(scored, self.recipe, kinds)
        through = ~scored.failed
        self.left["triplets"] += len(scored)
        self.left["candidates"] += through.size
        self.left["made"] += int(through.sum())
        limits = gates(self.recipe.thresholds)
        for name, values in zip(SIMILARITIES, scored.similarities, strict=True):
            self.failing[name] += int((values < limits[name]).sum())
            through = through & (values >= limits[name])
            self.left[name] += int(through.sum())
        self.left["kept"] = self.counted.pairs

    def as_json(self) -> dict[str, Any]:
        """For the page and for machines."""
        return {
            "left": self.left,
            "failing": self.failing,
            "pairs": self.counted.pairs,
            "failed": self.counted.failed,
            "triplets_kept": self.counted.triplets_kept,
            "by_kind": self.counted.by_kind,
        }


@dataclass(frozen=True)
class Cost:
    """What the run took, by its own ledger."""

    rows: int
    """UNet forwards of one latent: four a candidate and step, as far as they were begun."""
    seconds: float
    """From the start of each unit's attempt to its commit, added up: where a worker makes several units at
    once, more than its own time."""
    pairs: int
    price: float | None
    """Of a GPU (or CPU worker) for an hour."""

    def as_json(self) -> dict[str, Any]:
        """For the page and for machines; null where there is no pair, or no price."""
        each = 1 / self.pairs if self.pairs else None
        hours = self.seconds / 3600
        money = None if self.price is None else hours * self.price
        return {
            "rows": self.rows,
            "worker_hours": hours,
            "cost": money,
            "price_per_gpu_hour": self.price,
            "rows_per_pair": each and self.rows * each,
            "seconds_per_pair": each and self.seconds * each,
            "cost_per_pair": money * each if money is not None and each else None,
        }
