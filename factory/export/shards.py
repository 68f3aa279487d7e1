"""What shards an export has: cut once, from the sealed manifest, so that `k-of-n` names are known."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from factory.export.splits import bounds, place_of, split_of
from schemas.export import SPLITS, ExportRecipe, Shard

MB = 1_000_000


@dataclass(frozen=True)
class TripletPairs:
    """The pairs of one triplet, which stay together."""

    key: str
    """Of the source's file that holds them."""
    sha256: str
    """Of that file."""
    rows: tuple[int, ...]
    """There."""
    place: int
    """Of its prompt, see `place_of`."""
    bytes: int
    """About."""


def groups_of(
    key: str, sha256: str, size: int, triplets: Sequence[str], prompts: Sequence[str]
) -> Iterator[TripletPairs]:
    """One file's rows by triplet, in their order, each row with its triplet and original prompt."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, triplet in enumerate(triplets):
        rows[triplet].append(row)
    for held in rows.values():
        share = size * len(held) // len(triplets)
        yield TripletPairs(key, sha256, tuple(held), place_of(prompts[held[0]]), share)


def cut(recipe: ExportRecipe, groups: Iterable[TripletPairs]) -> list[Shard]:
    """All shards, split by split, of about equal size within each."""
    known = list(groups)
    between = bounds((one.place for one in known), recipe.validation, recipe.test)
    sides: dict[str, list[TripletPairs]] = {name: [] for name in SPLITS}
    for one in known:
        sides[split_of(one.place, between)].append(one)
    shards: list[Shard] = []
    first = 0
    for split, side in sides.items():
        parts = list(_parts(side, recipe.shard_mb * MB))
        for number, part in enumerate(parts):
            shards.append(
                Shard(
                    name=f"{split}-{number:05d}-of-{len(parts):05d}",
                    split=split,
                    pairs=sum(len(one.rows) for one in part),
                    first=first,
                    pieces=_pieces(part),
                )
            )
            first += len(part)
    return shards


def _parts(groups: Sequence[TripletPairs], size: int) -> Iterator[list[TripletPairs]]:
    """Runs of groups, none of them empty."""
    total = sum(one.bytes for one in groups)
    count, before, number = max(1, -(-total // size)), 0, 0
    part: list[TripletPairs] = []
    for one in groups:
        if part and before * count // max(1, total) > number:
            yield part
            part, number = [], before * count // max(1, total)
        part.append(one)
        before += one.bytes
    if part:
        yield part


def _pieces(groups: Iterable[TripletPairs]) -> str:
    pieces: list[tuple[str, str, list[int]]] = []
    for one in groups:
        if not pieces or pieces[-1][0] != one.key:
            pieces.append((one.key, one.sha256, []))
        pieces[-1][2].extend(one.rows)
    return json.dumps(pieces, separators=(",", ":"))


def pieces_of(shard: Shard) -> list[tuple[str, str, list[int]]]:
    """Of each file of the source that a shard takes from: key, sha256, rows."""
    return [(key, sha256, rows) for key, sha256, rows in json.loads(shard.pieces)]
