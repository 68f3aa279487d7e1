"""Pictures of candidates: of pairs as they are stored, of others as they are made anew from their seeds."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory.errors import InputError
from factory.ledger.manifest import part_lines
from factory.ledger.run import Run
from factory.pairs.recount import Mask
from factory.pairs.scores import SIMILARITIES
from factory.pairs.selection import gates
from factory.pairs.sheet import opened, stored_pairs
from factory.pairs.source import Draw, Made, PairSource, draws
from factory.report.columns import ACCEPTED, FAILED, CandidateColumns
from factory.storage.patience import read_whole
from schemas.ledger.commit import Manifest, UnitLine
from schemas.recipe import Recipe, Thresholds
from schemas.triplet import Triplet

SMALL_PX = 192
"""Smaller pictures are PNG, and shown larger pixel by pixel; others are shrunk to it twofold, as JPEG."""
QUALITY = 88

Pictures = dict[int, dict[str, Any]]
"""By a candidate's place in the columns: both pictures, and what was found when it was made again."""


def data_uri(image: Image.Image) -> str:
    """A picture within a page."""
    sink, longest = io.BytesIO(), max(image.size)
    if longest < SMALL_PX:
        image.save(sink, "PNG")
        kind = "png"
    else:
        image.thumbnail((2 * SMALL_PX, 2 * SMALL_PX), Image.Resampling.LANCZOS)
        image.save(sink, "JPEG", quality=QUALITY, subsampling=0)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(sink.getvalue()).decode()}"


def by_lot(columns: CandidateColumns, chosen: Mask) -> NDArray[np.int64]:
    """Places of candidates in an order that a hash draws: one of each triplet, then each one's second."""
    names = (hashlib.sha256(name.encode()).digest()[:8] for name in columns.triplet_ids)
    lots = np.frombuffer(b"".join(names), ">u8")
    triplets, candidates = np.nonzero(chosen)
    turn = (np.cumsum(chosen, axis=1) - 1)[chosen]
    order = np.lexsort((triplets, lots[triplets], turn))
    places: NDArray[np.int64] = (triplets * chosen.shape[1] + candidates)[order]
    return places


def of_each_reason(columns: CandidateColumns, thresholds: Thresholds, count: int) -> list[int]:
    """Places of rejected candidates, so many in all: of each reason in turn, as the lot draws them."""
    rejected = (columns.state & (ACCEPTED | FAILED)) == 0
    limits = gates(thresholds)
    reasons = sum(
        (values < limits[name]).astype(np.int64) << bit
        for bit, (name, values) in enumerate(zip(SIMILARITIES, columns.similarities, strict=True))
    )
    waiting = [
        by_lot(columns, rejected & (reasons == reason))[:count].tolist()
        for reason in np.unique(reasons[rejected])
    ]
    turns = zip_longest(*waiting)
    return [place for turn in turns for place in turn if place is not None][:count]


def places_of(columns: CandidateColumns, recipe: Recipe, names: Sequence[str]) -> list[int]:
    """Candidates by names such as `1a1669cabf0ff632-3`. Raises `InputError`."""
    known = {name: number for number, name in enumerate(columns.triplet_ids)}
    found = []
    for name in names:
        triplet, _, index = name.rpartition("-")
        if triplet not in known or not index.isdecimal() or int(index) >= recipe.candidates:
            raise InputError(
                f"--candidate {name[:40]}: must be a triplet of this page and a number below "
                f"{recipe.candidates}, such as {columns.triplet_ids[0]}-0"
            )
        row = columns.index[known[triplet]]
        found.append(known[triplet] * recipe.candidates + int(np.flatnonzero(row == int(index))[0]))
    return found


def kept_pictures(
    run: Run, manifest: Manifest, columns: CandidateColumns, wanted: Sequence[int]
) -> Pictures:
    """Of pairs, as they are stored. Raises `Damaged`."""
    candidates = run.recipe.candidates
    units = {int(columns.units[place // candidates]) for place in wanted}
    lines = _lines(run, manifest, units)
    named = {_name(columns, candidates, place): place for place in wanted}
    found: Pictures = {}
    for unit in sorted(units):
        key = lines[unit].data_key
        if key is None:
            continue
        for pair in read_whole(run.store, key, partial(stored_pairs, run, key)):
            place = named.get((pair.triplet_id, pair.index))
            if place is not None:
                pictures = (opened(one.bytes) for one in (pair.original_image, pair.edited_image))
                found[place] = {"pictures": [data_uri(one) for one in pictures]}
    return found


def _lines(run: Run, manifest: Manifest, units: set[int]) -> Mapping[int, UnitLine]:
    lines = (line for part in manifest.parts for line in part_lines(run, part))
    return {line.unit: line for line in lines if line.unit in units}


def _name(columns: CandidateColumns, candidates: int, place: int) -> tuple[str, int]:
    triplet, at = divmod(place, candidates)
    return columns.triplet_ids[triplet], int(columns.index[triplet, at])


def remade_pictures(
    recipe: Recipe,
    columns: CandidateColumns,
    wanted: Sequence[int],
    source: Callable[[], PairSource],
    made: Callable[[], None] = lambda: None,
) -> Pictures:
    """Of any candidates, made again from their seeds; `made` is told of each.

    Where another environment gives other scores, the new ones stand beside the pictures.
    """
    places: dict[tuple[str, int], int] = {}
    asked: list[Draw] = []
    for place in wanted:
        name, index = _name(columns, recipe.candidates, place)
        places[name, index] = place
        triplet = Triplet.model_validate(columns.items[place // recipe.candidates])
        asked.append(draws(recipe, triplet)[index])
    found: Pictures = {}
    for outcome in source().pairs(asked) if asked else _nothing():
        place = places[outcome.draw.triplet.triplet_id, outcome.draw.index]
        made()
        if not isinstance(outcome, Made):
            found[place] = {"pictures": [], "remade": outcome.reason}
            continue
        pictures = [data_uri(Image.fromarray(one)) for one in (outcome.original, outcome.edited)]
        found[place] = {"pictures": pictures, "remade": ""}
        triplet_number, at = divmod(place, recipe.candidates)
        before = columns.similarities[:, triplet_number, at].tolist()
        now = [getattr(outcome.scores, name) for name in SIMILARITIES]
        if now != before:
            found[place]["scores"] = now
    return found


def _nothing() -> Iterator[Made]:
    return iter(())
