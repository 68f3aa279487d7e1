"""The rule of `selection.py` over whole columns of scores: fast for millions, as that is plain for one."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.pairs.scores import SIMILARITIES, ScoredTriplets, items_of, scores_of
from factory.pairs.selection import gates
from factory.seeds import candidate_seed
from schemas.ledger.commit import Manifest, Part
from schemas.ledger.tally import KIND_NOT_GIVEN
from schemas.recipe import Recipe, Thresholds

Mask = NDArray[np.bool_]
DIRECTION = SIMILARITIES.index("clip_sim_dir")


def passes_gates(similarities: NDArray[np.float64], thresholds: Thresholds) -> Mask:
    """Which candidates pass all gates; (4, ...) to (...). A failed one, all NaN, passes none."""
    limits = gates(thresholds)
    found = np.ones(similarities.shape[1:], bool)
    for values, name in zip(similarities, SIMILARITIES, strict=True):
        found &= values >= limits[name]
    return found


def kept(scored: ScoredTriplets, recipe: Recipe) -> Mask:
    """Which candidates become pairs by a recipe's gates and rule; (triplets, candidates)."""
    found, most = passes_gates(scored.similarities, recipe.thresholds), recipe.keep.most
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

    def add(self, scored: ScoredTriplets, recipe: Recipe, kinds: NDArray[np.object_]) -> Mask:
        """Count some triplets, of these kinds; which of their candidates are kept."""
        found, before = kept(scored, recipe), scored.accepted
        self.triplets += len(scored)
        self.candidates += found.size
        self.failed += int(scored.failed.sum())
        self.passing += int(passes_gates(scored.similarities, recipe.thresholds).sum())
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

    def merge(self, other: "Recount") -> None:
        """Take in what was counted of other triplets."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, of in other.by_kind.items():
            mine = self.by_kind.setdefault(kind, dict.fromkeys(of, 0))
            for name, count in of.items():
                mine[name] += count


COUNTS = tuple(one.name for one in fields(Recount) if one.name != "by_kind")


def kinds_of(items: Iterable[Row]) -> NDArray[np.object_]:
    """The edit kind of each triplet, as tables name it."""
    return np.array([row["edit_kind"] or KIND_NOT_GIVEN for row in items], object)


def recounted(run: Run, plan: Plan, manifest: Manifest, recipe: Recipe) -> Recount:
    """What a recipe would keep of a sealed run, by its scores alone; memory holds two segments of them.

    Raises `Damaged`.
    """

    def one(part: Part) -> Recount:
        scored, found = scores_of(run, plan, part), Recount()
        found.add(scored, recipe, kinds_of(items_of(plan, scored)))
        return found

    total = Recount()
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(one, manifest.parts):
            total.merge(found)
    return total
