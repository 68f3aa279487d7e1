"""Begin a run of captions, or open it to go on."""

from factory.captions.listing import CaptionList
from factory.captions.prompts import EXAMPLES
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.storage.open import open_store
from factory.work.job import begin
from schemas.captions import CAPTIONS, CaptionRecipe, Captions


def prepare(
    config: Captions,
    out: str,
    listed: CaptionList,
    *,
    extend: bool = False,
    retry_failed: bool = False,
) -> tuple[Run, Plan]:
    """Open or begin the run at `out`, all checks first; no server is asked. As `begin`."""
    return begin(
        CAPTIONS,
        open_store(out),
        lambda: with_examples(config.recipe),
        listed.items,
        config.recipe.unit_captions,
        listed.duplicates,
        extend=extend,
        retry_failed=retry_failed,
    )


def with_examples(recipe: CaptionRecipe) -> CaptionRecipe:
    """A recipe with the examples of its chat in it: it stays the same when the built-in ones change."""
    if recipe.form == "completion" or recipe.examples or not recipe.few_shot:
        return recipe
    return recipe.model_copy(update={"examples": EXAMPLES})
