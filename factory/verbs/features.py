"""What Plug-and-Play lends of the pictures of a run, shown."""

from contextlib import closing

from factory.edits.listing import open_images
from factory.edits.opening import Opened, Opener
from factory.errors import InputError
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.pictures import Picture
from schemas.edits import EDIT, EditCompute, EditItem, EditRecipe


def features_of(run: Run, plan: Plan, count: int) -> bytes:
    """A sheet of what the first pictures of a run of edits by `pnp` lend. Raises `InputError` of others."""
    recipe = EditRecipe.read(run.recipe) if run.layout.stage == EDIT.stage else None
    settings = recipe.pnp if recipe else None
    if recipe is None or settings is None:
        raise InputError(f"--features: must be of edits by pnp, got {run.uri}")
    from factory.edits.editors.engine_editor import EngineEditor
    from factory.edits.editors.pnp_features import feature_sheet

    pictures: list[tuple[str, Picture]] = []
    with closing(Opener(open_images(recipe.images))) as opener:
        for unit in range(len(plan.units)):
            for row in plan.items(unit):
                item = EditItem.model_validate(row)
                opened = opener.open(item.image) if item.editor == "pnp" else None
                if isinstance(opened, Opened) and len(pictures) < count:
                    pictures.append((item.image, opened.picture))
            if len(pictures) == count:
                break
    if not pictures:
        raise InputError(
            f"--features: must have a picture of pnp that opens, got none in {run.uri}"
        )
    return feature_sheet(EngineEditor(settings, recipe, EditCompute(device="auto")), pictures)
