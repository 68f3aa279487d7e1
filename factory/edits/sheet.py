"""A contact sheet of edits: each picture beside what was made of it."""

import textwrap
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

from PIL import Image

from factory.edits.listing import open_images
from factory.edits.opening import Opened, Opener
from factory.ledger.book import Book
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.pairs.sheet import LINE_CHARACTERS, cell, grid
from schemas.edits import EditRecipe, EditRow, Verdict

COLUMNS = 3


def edit_sheet(run: Run, plan: Plan, count: int) -> bytes:
    """The first `count` edits of a run in the plan's order, as a PNG file; pictures that are gone are left
    out.

    Both pictures are opened by the confined decoder: they lie where others may write.
    """
    recipe = EditRecipe.read(run.recipe) if isinstance(run.recipe, dict) else run.recipe
    with (
        closing(Opener(open_images(recipe.images))) as before,
        closing(Opener(run.place)) as after,
    ):
        cells = (
            _cell(row, before.open(row.image), after.open(row.key)) for row in _edits(run, plan)
        )
        return grid(list(islice((one for one in cells if one), count)), COLUMNS)


def _edits(run: Run, plan: Plan) -> Iterator[EditRow]:
    for line in Book(run, plan).lines():
        found = find_commit(run, plan, line.unit, line)
        for plain in whole_commit(run, found).rows:
            row = EditRow.model_validate(plain)
            if row.verdict == Verdict.DONE:
                yield row


def _cell(row: EditRow, before: object, after: object) -> Image.Image | None:
    if not isinstance(before, Opened) or not isinstance(after, Opened):
        return None
    asked = row.instruction or row.target_caption or ""
    settings = [f"steps {row.steps}", f"text {row.text_guidance:g}" if row.text_guidance else ""]
    settings += [f"picture {row.image_guidance:g}" if row.image_guidance else ""]
    settings += [f"strength {row.strength:g}" if row.strength else ""]
    return cell(
        [Image.fromarray(one.picture) for one in (before, after)],
        [
            row.image[-LINE_CHARACTERS:],
            *textwrap.wrap("> " + asked, LINE_CHARACTERS)[:2],
            "  ".join([row.editor, *filter(None, settings)]),
        ],
    )
