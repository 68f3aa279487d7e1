"""The candidates that a page holds: all of a run, or those of a hash sample of its triplets.

A page judges them itself, by the rule of `pairs/selection.py`. So that it need not rank anything, the
candidates of a triplet stand in the order in which they would be kept: by direction, then by seed, the best
first and those that failed last. Scores are stored exactly, as 32-bit floats wherever they are such.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.ledger.plan import Row
from factory.pairs.recount import DIRECTION
from factory.pairs.scores import SIMILARITIES, ScoredTriplets
from factory.seeds import candidate_seed, uniform
from schemas.recipe import Recipe

MOST_CANDIDATES = 10**6
"""In one page; of a longer run a sample of triplets is shown."""
ACCEPTED, FAILED = 1, 2
"""Bits of a candidate's state."""
LITTLE = {"float32": "<f4", "float64": "<f8", "uint8": "u1", "uint16": "<u2"}


@dataclass(frozen=True)
class CandidateColumns:
    """(triplets, candidates) each, a triplet's candidates best first."""

    items: Sequence[Row]
    """The triplets, as planned."""
    triplet_ids: Sequence[str]
    units: NDArray[np.int64]
    """(triplets,)"""
    index: NDArray[np.uint16]
    similarities: NDArray[np.float64]
    """(4, triplets, candidates)"""
    state: NDArray[np.uint8]
    p: NDArray[np.float32]
    guidance: NDArray[np.float32]
    failures: dict[int, str]
    """Why, by place in the flat columns."""
    of_triplets: int
    """How many the run has; more than are here where they are a sample."""

    @property
    def is_sample(self) -> bool:
        return self.of_triplets > len(self.items)

    def packed(self) -> dict[str, Any]:
        """For the page: each column's kind and its bytes in base64, little-endian."""
        columns: dict[str, NDArray[Any]] = {
            name: exactly(values)
            for name, values in zip(SIMILARITIES, self.similarities, strict=True)
        }
        columns |= {
            "index": self.index,
            "state": self.state,
            "p": self.p,
            "guidance": self.guidance,
        }
        return {
            name: {
                "kind": values.dtype.name,
                "base64": base64.b64encode(
                    values.astype(LITTLE[values.dtype.name]).tobytes()
                ).decode(),
            }
            for name, values in columns.items()
        }


def exactly(values: NDArray[np.float64]) -> NDArray[Any]:
    """The same numbers, in half the room where 32 bits hold each of them."""
    short = values.astype(np.float32)
    same = (short.astype(np.float64) == values) | np.isnan(values)
    return short if same.all() else values


def sampled(
    parts: Iterable[tuple[ScoredTriplets, Sequence[Row]]],
    recipe: Recipe,
    of_triplets: int,
    most: int = MOST_CANDIDATES,
) -> CandidateColumns:
    """Of a run with so many triplets all candidates, or those of about as many triplets as `most` holds.

    A triplet's own name says whether it is in a sample: it is a hash of its texts.
    """
    share = min(1.0, most / max(1, of_triplets * recipe.candidates))
    limit = int(share * 2**64)
    items: list[Row] = []
    names: list[str] = []
    none = np.empty((0, recipe.candidates))
    units: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    order: list[NDArray[np.int64]] = [none.astype(np.int64)]
    blocks: list[NDArray[np.float64]] = [np.stack([none] * 4)]
    accepted: list[NDArray[np.bool_]] = [none.astype(bool)]
    failures: dict[int, str] = {}
    for scored, rows in parts:
        chosen = [i for i, name in enumerate(scored.triplet_ids) if int(name, 16) < limit]
        if not chosen:
            continue
        ranks = np.stack([ranked(scored, i, recipe) for i in chosen])
        base = len(items) * recipe.candidates
        places = {i: at for at, i in enumerate(chosen)}
        for (i, candidate), reason in scored.failures.items():
            if i in places:
                at = int(np.flatnonzero(ranks[places[i]] == candidate)[0])
                failures[base + places[i] * recipe.candidates + at] = reason
        items += [rows[i] for i in chosen]
        names += [str(scored.triplet_ids[i]) for i in chosen]
        units.append(scored.units[chosen])
        order.append(ranks)
        taken = scored.similarities[:, chosen]
        blocks.append(np.take_along_axis(taken, ranks[None], axis=2))
        accepted.append(np.take_along_axis(scored.accepted[chosen], ranks, axis=1))
    index = np.concatenate(order).astype(np.uint16)
    similarities = np.concatenate(blocks, axis=1)
    state = np.where(np.concatenate(accepted), ACCEPTED, 0)
    state |= np.where(np.isnan(similarities[0]), FAILED, 0)
    return CandidateColumns(
        items=items,
        triplet_ids=names,
        units=np.concatenate(units),
        index=index,
        similarities=similarities,
        state=state.astype(np.uint8),
        p=_drawn(recipe, names, index, "p", recipe.p),
        guidance=_drawn(recipe, names, index, "guidance", recipe.guidance),
        failures=failures,
        of_triplets=of_triplets,
    )


def ranked(scored: ScoredTriplets, triplet: int, recipe: Recipe) -> NDArray[np.int64]:
    """A triplet's candidates, best first: by direction, then by the higher seed."""
    direction = scored.similarities[DIRECTION, triplet]
    order = np.argsort(-direction, kind="stable")
    sorted_by = direction[order]
    if (sorted_by[1:] == sorted_by[:-1]).any():
        name = str(scored.triplet_ids[triplet])
        seeds = [candidate_seed(recipe.run_seed, name, i) for i in range(len(direction))]
        last = -np.inf
        keys = [(last if np.isnan(d) else d, s) for d, s in zip(direction, seeds, strict=True)]
        order = np.array(sorted(range(len(keys)), key=lambda i: keys[i], reverse=True))
    return order


def _drawn(
    recipe: Recipe,
    names: Sequence[str],
    index: NDArray[np.uint16],
    purpose: str,
    bounds: tuple[float, float],
) -> NDArray[np.float32]:
    """What was drawn for each candidate, which follows from its name."""
    rows = zip(names, index.tolist(), strict=True)
    drawn = [uniform(recipe.run_seed, name, i, purpose, *bounds) for name, of in rows for i in of]
    return np.array(drawn, np.float32).reshape(index.shape)
