"""Begin a run of edits, or open it to go on: what is asked for, the models pinned, the pictures listed."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from factory.edits.listing import Listed, Wish, canonical
from factory.errors import EditmillError, InputError, ListError, ModelError, RunMismatch
from factory.ledger import keys
from factory.ledger.plan import Plan, find_plan
from factory.ledger.run import Run, is_begun, open_run
from factory.models.editor import pin_editor
from factory.models.find import placed
from factory.models.layers import (
    attention_scales,
    check_blend,
    check_names,
    decoder_layers,
    unet_config,
)
from factory.models.pin import pin_text_to_image
from factory.storage.open import open_store
from factory.work.job import begin
from schemas.editors import EDITORS, DiffusersPipeline, P2p, Pnp
from schemas.edits import EDIT, KNOBS, EditItem, EditRecipe, Edits
from schemas.recipe import ModelSource


def run_uri(out: str) -> str:
    """Where the records of a run lie whose pictures go to `out`."""
    return f"{out.rstrip('/')}/{keys.BESIDE}"


def check_places(images: str, out: str) -> None:
    """Raise `InputError` where edits would be listed as pictures to edit; a list of requests lists none."""
    there, here = canonical(images), canonical(out)
    if f"{here}/".startswith(f"{there}/"):
        raise InputError(f"--out {out}: must not lie below --images {images}, got edits among them")


def listed_before(out: str, wish: Wish, recipe: EditRecipe) -> bool:
    """Whether a prefix was listed by the run at `out`, for the same wish; it is not listed again then.

    Raises `RunMismatch` where it was listed for another one.
    """
    plan = _plan_of(out)
    if plan is None:
        return False
    first = EditItem.model_validate(plan.items(0)[0])
    asked = {**wish.fields, "editor": recipe.editor}
    differing = [
        f"{name}: {getattr(first, name)!r} -> {value!r}"
        for name, value in asked.items()
        if getattr(first, name) != value
    ]
    if differing:
        raise RunMismatch(
            f"{out}: holds edits that were asked for otherwise; {'; '.join(differing)}"
        )
    return True


def find_recipe(out: str) -> EditRecipe | None:
    """The recipe of the run whose pictures lie at `out`; None where there is none that can be read."""
    try:
        run = open_run(open_store(run_uri(out)))
        return EditRecipe.read(run.recipe) if run.layout.stage == EDIT.stage else None
    except (EditmillError, ValidationError):
        # Who opens it to work there says what is wrong with it.
        return None


def _plan_of(out: str) -> Plan | None:
    store = open_store(run_uri(out))
    if not is_begun(store):
        return None
    run = open_run(store)
    return find_plan(run) if run.layout.stage == EDIT.stage else None


def prepare(
    config: Edits,
    out: str,
    listed: Callable[[], Listed] | None,
    *,
    extend: bool = False,
    retry_failed: bool = False,
) -> tuple[Run, Plan, Listed | None]:
    """Open or begin the run whose pictures go to `out`, all checks first; no weights are loaded.

    `listed` lists the pictures; None goes on with those of the plan that is there. As `begin`.
    """
    store = open_store(run_uri(out))
    found = listed() if listed else None
    run, plan = begin(
        EDIT,
        store,
        lambda: pinned(config.recipe, found),
        found.items if found else None,
        config.recipe.unit_images,
        found.duplicates if found else 0,
        extend=extend,
        retry_failed=retry_failed,
    )
    return run, plan, found


def pinned(recipe: EditRecipe, listed: Listed | None) -> EditRecipe:
    """A recipe with the editors that are asked for, and the hashes of their files. Raises `ModelError`."""
    asked = {item.editor for item in listed.items} if listed else {recipe.editor}
    found = {name: None for name in EDITORS} | {
        name: _pinned(recipe, name) for name in sorted(asked | {recipe.editor})
    }
    recipe = recipe.model_copy(update=found)
    if listed and recipe.diffusers is not None:
        _check_settings(recipe.diffusers, listed)
    return recipe


def _check_settings(settings: DiffusersPipeline, listed: Listed) -> None:
    """Raise `ListError` for a request with a setting that its pipeline's call has not."""
    asked = (item for item in listed.items if item.editor == settings.NAME)
    given = ((item, name) for item in asked for name in KNOBS if getattr(item, name) is not None)
    first = next(given, None)
    if first is None:
        return
    from factory.edits.editors.pipeline_class import settings_unknown

    unknown = settings_unknown(settings)
    for item, name in chain([first], given):
        if name in unknown:
            raise ListError(
                f"{item.key}: {settings.pipeline} takes no {name}, got {getattr(item, name):g}"
            )


def _check_layers(settings: P2p | Pnp) -> None:
    """Raise `ModelError` for layers that the network has not."""
    path = Path(placed(settings.model, "text_to_image").source)
    unet = unet_config(path, settings.model.name)
    if isinstance(settings, Pnp):
        check_names(
            "recipe.pnp.attention_layers",
            settings.attention_layers,
            decoder_layers(unet, attending=True),
        )
        check_names(
            "recipe.pnp.feature_layers",
            settings.feature_layers,
            decoder_layers(unet, attending=False),
        )
        return
    scales = attention_scales(unet)
    if settings.self_scale > max(scales):
        raise ModelError(
            f"recipe.p2p.self_scale: must be at most the network's {max(scales)}, got {settings.self_scale}"
        )
    check_blend("recipe.p2p.maps", settings.maps, scales)


def _pinned(recipe: EditRecipe, name: str) -> object:
    settings = recipe.of(name)
    assert settings is not None
    if isinstance(settings, DiffusersPipeline):
        from factory.edits.editors.pipeline_class import pinned_pipeline

        return pinned_pipeline(settings)
    if settings.CHANNELS == 8:
        models: dict[str, ModelSource | None] = {
            "model": pin_editor(settings.model, recipe.size_px)
        }
        if settings.autoencoder:
            models["autoencoder"] = pin_text_to_image(
                settings.model, settings.autoencoder, recipe.size_px, "recipe"
            )[1]
        return settings.model_copy(update=models)
    model, autoencoder = pin_text_to_image(
        settings.model, settings.autoencoder, recipe.size_px, "recipe"
    )
    if isinstance(settings, Pnp | P2p):
        _check_layers(settings)
    return settings.model_copy(update={"model": model, "autoencoder": autoencoder})
