"""What is left of a run of captions when it is sealed: triplets without near-duplicates, as files."""

from collections.abc import Iterator
from itertools import tee
from typing import Any

from factory.captions.near_duplicates import near_duplicates
from factory.ledger.run import Run
from factory.ledger.units.commits import Commit
from schemas.arrow import columns_of, write_rows
from schemas.captions import TRIPLETS, CaptionRecipe, Verdict
from schemas.triplet import Triplet

TRIPLET_ROWS = 65_536
"""In a file of triplets, and of what was left out."""
NEAR_DUPLICATES = "near_duplicates_"
"""How the names begin of the files with what was left out."""
_TEXTS = ("original_prompt", "edit_prompt", "edited_prompt")
_LEFT_OUT = {
    **{"caption_id": "str", "index": "int"},
    **dict.fromkeys(_TEXTS, "str"),
    **{"like_caption_id": "str", "like_index": "int", "similarity": "float"},
}


def triplets(run: Run, commits: Iterator[Commit]) -> Iterator[tuple[str, bytes]]:
    """The accepted triplets in the plan's order, without near-duplicates, in Parquet files of
    `TRIPLET_ROWS`; and such tables of what was left out for which.

    At most one file of each is in memory.
    """
    kept = _File(TRIPLETS, columns_of(Triplet))
    left_out = _File(NEAR_DUPLICATES, _LEFT_OUT)
    for row, near in _accepted(run.recipe, commits):
        if near is None:
            given = {name: row[name] for name in (*_TEXTS, "url")} | {"edit_kind": row["kind"]}
            yield from kept.add(given)
        else:
            given = {name: row[name] for name in ("caption_id", "index", *_TEXTS)}
            caption_id, _, index = near[0].partition("/")
            given |= {"like_caption_id": caption_id, "like_index": int(index)}
            yield from left_out.add(given | {"similarity": round(near[1], 4)})
    yield from kept.rest()
    yield from left_out.rest()


def _accepted(
    recipe: CaptionRecipe, commits: Iterator[Commit]
) -> Iterator[tuple[dict[str, Any], tuple[str, float] | None]]:
    """Each accepted instruction, and which one it nearly repeats."""
    rows, again = tee(
        row for commit in commits for row in commit.rows if row["verdict"] == Verdict.ACCEPTED
    )
    if recipe.near_duplicates is None:
        for row in rows:
            next(again)
            yield row, None
        return
    texts = (
        (f"{row['caption_id']}/{row['index']}", [row[name] for name in _TEXTS]) for row in again
    )
    yield from zip(rows, near_duplicates(texts, recipe.near_duplicates), strict=True)


class _File:
    """Rows until they fill a file."""

    def __init__(self, name: str, columns: dict[str, str]) -> None:
        self.name, self.columns = name, columns
        self.number = 0
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        self.rows.append(row)
        if len(self.rows) == TRIPLET_ROWS:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[str, bytes]]:
        """What is left of a file, if anything is."""
        if self.rows:
            yield f"{self.name}{self.number:06d}.parquet", write_rows(self.columns, self.rows)
            self.number, self.rows = self.number + 1, []
