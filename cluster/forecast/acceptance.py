"""What will be accepted of the rest of a list, told from a sample of its triplets.

The sampling unit is the triplet: its candidates share their captions and pass or fail together. How many
pairs triplets keep, 0 to `most`, is taken to be beta-binomial; its mean and the likeness of a triplet's
candidates are both uncertain, and each combination weighs as much as it explains the sample. The rest is
then drawn triplet by triplet, so that an interval holds the rest's own chance, too, and has a width where
nothing or everything was accepted. The prior is Jeffreys' for the mean, Beta(1/2, 1/2), and flat for the
likeness.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

STATED = 0.90
"""How often an interval holds what comes."""
DRAWS = 2000
Ends = tuple[float, float]
WHOLE: Ends = (0.0, 1.0)
_CELLS = 40
"""Of either axis of the grid over what is uncertain."""
_CLOSER = 3
"""Times that the grid is drawn, each time around what has weight: large samples know much."""
NO_WEIGHT = 1e-4
"""Of the heaviest cell's; what has less is left out."""


@dataclass(frozen=True)
class Range:
    """A number that is not known: its middle, and between what it lies with the stated chance."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Floats) -> "Range":
        """By what it may be, each as likely as another."""
        chances = (0.5, (1 - STATED) / 2, (1 + STATED) / 2)
        return cls(*(float(one) for one in np.quantile(draws, chances, method="hazen")))

    def times(self, factor: float) -> "Range":
        """So many times as much."""
        return Range(self.middle * factor, self.low * factor, self.high * factor)

    def under(self, whole: float) -> "Range":
        """How often it goes into something; without end where it may be 0."""
        ends = (whole / one if one else math.inf for one in (self.middle, self.high, self.low))
        return Range(*ends)

    def holds(self, truth: float) -> bool:
        """Whether it lies within."""
        return bool(self.low - 1e-12 <= truth <= self.high + 1e-12)


@dataclass(frozen=True)
class Rest:
    """Draws of what becomes of triplets that were not made yet."""

    triplets: int
    pairs: Floats
    """Kept of all of them together."""
    with_pairs: Floats
    """Triplets of which at least one pair is kept."""


def rest_of(kept: Sequence[int], most: int, triplets: int, seed: int = 0) -> Rest:
    """Draw what becomes of `triplets` more of the list of which a sample kept so many pairs each.

    `most` is what one may keep. The sample must have been drawn from the whole list at random.
    """
    rng = np.random.default_rng(seed)
    seen = np.bincount(np.asarray(kept, dtype=np.int64), minlength=most + 1)
    means, likenesses = WHOLE, WHOLE
    for _ in range(_CLOSER):
        chances = _grid(most, means, likenesses)
        likelihood = np.log(chances) @ seen
        weights = np.exp(likelihood - likelihood.max())
        table = weights.reshape(_CELLS, _CELLS)
        means, likenesses = _around(means, table.max(1)), _around(likenesses, table.max(0))
    chosen = rng.choice(len(weights), DRAWS, p=weights / weights.sum())
    counts = rng.multinomial(triplets, chances[chosen])
    pairs: Floats = (counts @ np.arange(most + 1)).astype(np.float64)
    return Rest(triplets, pairs, (triplets - counts[:, 0]).astype(np.float64))


def _around(ends: Ends, weights: Floats) -> Ends:
    """The part of an axis that has any weight to speak of, and a cell more on either side."""
    low, high = ends
    cell = (high - low) / _CELLS
    (heavy,) = np.nonzero(weights > NO_WEIGHT)
    return max(0.0, low + (heavy[0] - 1) * cell), min(1.0, low + (heavy[-1] + 2) * cell)


def _grid(most: int, means: Ends, likenesses: Ends) -> Floats:
    """The chance of 0 to `most` pairs, a row for each mean and likeness; no chance is quite 0.

    The means lie as Jeffreys' prior has them, which is even in the arc of their sine. The likeness of two
    candidates of one triplet is their correlation.
    """
    steps = (np.arange(_CELLS) + 0.5) / _CELLS
    arcs = means[0] + (means[1] - means[0]) * steps
    likeness = np.tile(likenesses[0] + (likenesses[1] - likenesses[0]) * steps, _CELLS)[:, None]
    mean = np.repeat(np.sin(np.pi / 2 * arcs) ** 2, _CELLS)[:, None]
    a = mean * (1 - likeness) / likeness
    b = (1 - mean) * (1 - likeness) / likeness
    kept = np.arange(most + 1)
    ways = _rising(np.ones((1, 1)), most)
    logs = ways[:, -1:] - ways - ways[:, ::-1]
    logs = logs + _rising(a, most)[:, kept] + _rising(b, most)[:, most - kept]
    chances = np.maximum(np.exp(logs - _rising(a + b, most)[:, -1:]), 1e-300)
    grid: Floats = chances / chances.sum(axis=1, keepdims=True)
    return grid


def _rising(start: Floats, steps: int) -> Floats:
    """log of start (start + 1) … (start + k - 1) for k = 0 to `steps`, a row for each start."""
    logs = np.log(start + np.arange(steps))
    return np.concatenate([np.zeros((len(start), 1)), np.cumsum(logs, axis=1)], axis=1)
