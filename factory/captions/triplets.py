"""What is left of a run of captions when it is sealed: triplets without near-duplicates, as files."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from factory.captions.near_duplicates import near_duplicates
from factory.ledger.commits import Commit
from factory.ledger.run import Run
from schemas.arrow import columns_of, write_rows
from schemas.captions import TRIPLETS, CaptionRecipe, Verdict
from schemas.triplet import Triplet

TRIPLET_ROWS = 65_536
"""In a file of triplets."""
_TEXTS = ("original_prompt", "edit_prompt", "edited_prompt")
_LEFT_OUT = {
    **{"caption_id": "str", "index": "int"},
    **dict.fromkeys(_TEXTS, "str"),
    **{"like_caption_id": "str", "like_index": "int", "similarity": "float"},
}


def triplets(run: Run, commits: Iterator[Commit]) -> Iterator[tuple[str, bytes]]:
    """The accepted triplets in the plan's order, without near-duplicates, in Parquet files of
    `TRIPLET_ROWS`; and a table of what was left out for which.
    """
    recipe: CaptionRecipe = run.recipe
    accepted = [
        row for commit in commits for row in commit.rows if row["verdict"] == Verdict.ACCEPTED
    ]
    left_out: list[dict[str, Any]] = []
    if recipe.near_duplicates is not None:
        texts = ([row[name] for name in _TEXTS] for row in accepted)
        for place, other, similarity in near_duplicates(texts, recipe.near_duplicates):
            row, like = accepted[place], accepted[other]
            left_out.append(
                {
                    **{name: row[name] for name in ("caption_id", "index", *_TEXTS)},
                    "like_caption_id": like["caption_id"],
                    "like_index": like["index"],
                    "similarity": round(similarity, 4),
                }
            )
    names = {(row["caption_id"], row["index"]) for row in left_out}
    kept = (
        {**{name: row[name] for name in (*_TEXTS, "url")}, "edit_kind": row["kind"]}
        for row in accepted
        if (row["caption_id"], row["index"]) not in names
    )
    number = 0
    while part := list(islice(kept, TRIPLET_ROWS)):
        yield f"{TRIPLETS}{number:06d}.parquet", write_rows(columns_of(Triplet), part)
        number += 1
    if left_out:
        yield "near_duplicates.parquet", write_rows(_LEFT_OUT, left_out)
