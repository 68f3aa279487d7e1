"""The first pictures of a run: what every worker finds out by them, it finds out alike."""

from factory.edits.codec import looks_like_picture
from factory.edits.listing import open_images
from factory.edits.opening import Opened, Opener
from factory.ledger.plan import find_plan
from factory.ledger.run import Run
from factory.pictures import Picture
from schemas.edits import EditCompute, EditItem

MOST = 4
"""Pictures; more would be edited by every worker that starts."""
TRIED = 20
"""Objects that are opened in search of them."""


def first_pictures(
    run: Run, images: str, compute: EditCompute, editor: str, most: int = MOST
) -> list[tuple[EditItem, Picture]]:
    """The plan's first pictures (height, width, 3) below `images` that open, of requests for an editor.

    Raises `StorageError` where their place gives no answer.
    """
    found: list[tuple[EditItem, Picture]] = []
    plan, tried = find_plan(run), 0
    if plan is None:
        return found
    opener = Opener(open_images(images), compute.most_pixels)
    try:
        for unit in plan.units:
            for row in plan.items(unit):
                item = EditItem.model_validate(row)
                if item.editor != editor or not looks_like_picture(item.image):
                    continue
                opened = opener.open(item.image)
                tried += 1
                if isinstance(opened, Opened):
                    found.append((item, opened.picture))
                if len(found) == most or tried == most + TRIED:
                    return found
            if unit > most + TRIED:
                break
        return found
    finally:
        opener.close()
