"""The rule of `selection.py` over whole columns of scores: fast for millions, as that is plain for one."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factory.pairs.scores import SIMILARITIES, Scored
from factory.pairs.selection import gates
from factory.seeds import candidate_seed
from schemas.recipe import Recipe, Thresholds

Mask = NDArray[np.bool_]
DIRECTION = SIMILARITIES.index("clip_sim_dir")


def passing(similarities: NDArray[np.float64], thresholds: Thresholds) -> Mask:
    """Which candidates pass all gates; (4, ...) to (...). A failed one, all NaN, passes none."""
    limits = gates(thresholds)
    found = np.ones(similarities.shape[1:], bool)
    for values, name in zip(similarities, SIMILARITIES, strict=True):
        found &= values >= limits[name]
    return found


def kept(scored: Scored, recipe: Recipe) -> Mask:
    """Which candidates become pairs by a recipe's gates and rule; (triplets, candidates)."""
    found, most = passing(scored.similarities, recipe.thresholds), recipe.keep.most
    many = np.flatnonzero(found.sum(axis=1) > most)
    if not len(many):
        return found
    passes = found[many]
    # Only where more pass than are kept are there rivals, and only those equal to the last one tie.
    direction = np.where(passes, scored.similarities[DIRECTION][many], -np.inf)
    last = -np.partition(-direction, most - 1, axis=1)[:, most - 1 : most]
    best = direction >= last
    for row in np.flatnonzero(best.sum(axis=1) > most):
        name = str(scored.triplet_ids[many[row]])
        tied = np.flatnonzero(direction[row] == last[row])
        seeds = {i: candidate_seed(recipe.run_seed, name, int(i)) for i in tied}
        over = int(best[row].sum()) - most
        best[row, sorted(seeds, key=lambda i: seeds[i])[:over]] = False
    found[many] = best
    return found


@dataclass
class Recount:
    """What a recipe with other gates would keep of a run, against what the run kept."""

    triplets: int = 0
    candidates: int = 0
    failed: int = 0
    passing: int = 0
    pairs: int = 0
    """Kept by the new gates and rule."""
    reused: int = 0
    """Of those: the run has their pictures."""
    remade: int = 0
    """Of those: they are made again from their seeds."""
    dropped: int = 0
    """Pairs of the run that the new gates or rule do not keep."""
    triplets_kept: int = 0
    """With a pair at least."""
    by_kind: dict[str, dict[str, int]] = field(default_factory=dict)
    """Candidates and pairs by edit kind."""

    def add(self, scored: Scored, recipe: Recipe, kinds: NDArray[np.object_]) -> Mask:
        """Count some triplets, of these kinds; which of their candidates are kept."""
        found, before = kept(scored, recipe), scored.accepted
        self.triplets += len(scored)
        self.candidates += found.size
        self.failed += int(scored.failed.sum())
        self.passing += int(passing(scored.similarities, recipe.thresholds).sum())
        self.pairs += int(found.sum())
        self.reused += int((found & before).sum())
        self.remade += int((found & ~before).sum())
        self.dropped += int((before & ~found).sum())
        self.triplets_kept += int(found.any(axis=1).sum())
        per_triplet = found.sum(axis=1)
        for kind in sorted(set(kinds)):
            of = self.by_kind.setdefault(str(kind), {"candidates": 0, "pairs": 0})
            mine = kinds == kind
            of["candidates"] += int(mine.sum()) * found.shape[1]
            of["pairs"] += int(per_triplet[mine].sum())
        return found
