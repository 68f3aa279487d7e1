"""What Plug-and-Play lends of the pictures of a run, shown."""

from factory.edits.first_pictures import first_pictures
from factory.errors import InputError
from factory.ledger.run import Run
from schemas.edits import EDIT, EditCompute, EditRecipe


def features_of(run: Run, count: int) -> bytes:
    """A sheet of what the first pictures of a run of edits by `pnp` lend. Raises `InputError` of others."""
    recipe = EditRecipe.read(run.recipe) if run.layout.stage == EDIT.stage else None
    settings = recipe.pnp if recipe else None
    if recipe is None or settings is None:
        raise InputError(f"--features: must be of edits by pnp, got {run.uri}")
    from factory.edits.editors.engine_editor import EngineEditor
    from factory.edits.editors.pnp_features import feature_sheet

    compute = EditCompute(device="auto")
    found = first_pictures(run, recipe.images, compute, "pnp", count)
    if not found:
        raise InputError(
            f"--features: must have a picture of pnp that opens, got none in {run.uri}"
        )
    # A picture may have several target captions, and lends the same to each.
    pictures = {item.image: picture for item, picture in found}
    return feature_sheet(EngineEditor(settings, recipe, compute), list(pictures.items()))
