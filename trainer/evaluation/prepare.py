"""Begin an evaluation, or go on: the held-out set found, every model pinned, the edits listed."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from factory.dataset.index import Index, find_index, store_index
from factory.edits.prepare import pinned as pinned_edits
from factory.edits.prepare import run_uri
from factory.errors import ConfigError, EditmillError, ModelError
from factory.ledger.plan import Plan
from factory.ledger.run import Run, open_run
from factory.models.pin import pin_clip
from factory.models.safetensors_header import check_numbers
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.work.job import begin
from schemas.editors import DiffusersPipeline
from schemas.evaluation import EVALUATE, Entrant, Evaluation, EvaluationRecipe
from schemas.recipe import ModelSource
from trainer.evaluation.held_out import Tasks, find_tasks
from trainer.evaluation.stage import items_of


def prepare(config: Evaluation, out: str, *, retry_failed: bool = False) -> tuple[Run, Plan, Tasks]:
    """Open or begin the run whose results go to `out`, all checks first; no weights are loaded.

    Raises `InputError` and `StorageRefused`, as `begin`.
    """
    store = open_store(run_uri(out))
    return prepare_in(store, config, retry_failed=retry_failed)


def prepare_in(
    store: ObjectStore, config: Evaluation, *, retry_failed: bool = False, extend: bool = False
) -> tuple[Run, Plan, Tasks]:
    """As `prepare`, in a store."""
    recipe = config.recipe
    tasks = find_tasks(recipe, _known(store, recipe))
    recipe = with_digests(recipe, tasks)
    run, plan = begin(
        EVALUATE,
        store,
        lambda: pinned(recipe),
        items_of(recipe, tasks.tasks),
        recipe.unit_edits,
        retry_failed=retry_failed,
        extend=extend,
    )
    if tasks.index is not None:
        store_index(store, tasks.index)
    return run, plan, tasks


def with_digests(recipe: EvaluationRecipe, tasks: Tasks) -> EvaluationRecipe:
    """A recipe that names what its editors are judged on by content."""
    found = {"digest": tasks.digest, "dataset": tasks.index.digest if tasks.index else ""}
    places = {}
    if recipe.held_out.kind == "requests":
        # Workers may run in another folder.
        places["images"] = tasks.images
    held_out = recipe.held_out.model_copy(update=found | places)
    return recipe.model_copy(update={"held_out": held_out})


def _known(store: ObjectStore, recipe: EvaluationRecipe) -> Index | None:
    """The index of the dataset that a run holds: it may have been sealed further since."""
    if recipe.held_out.kind != "dataset":
        return None
    try:
        run = open_run(store)
        if run.layout.stage != EVALUATE.stage:
            return None
        return find_index(store, EvaluationRecipe.read(run.recipe).held_out.dataset)
    except (EditmillError, ValidationError):
        # Who opens it to work there says what is wrong with it.
        return None


def pinned(recipe: EvaluationRecipe) -> EvaluationRecipe:
    """A recipe with the hashes of all files that its numbers come from.

    Raises `ModelError`, and `ConfigError` for a sweep over what a pipeline's call has not.
    """
    entrants = tuple(
        entrant.model_copy(update={"edits": pinned_edits(entrant.edits, None)})
        for entrant in recipe.entrants
    )
    for entrant in entrants:
        _check_sweep(entrant)
    models = {
        "clip": pin_clip(recipe.clip),
        "lpips": recipe.lpips and _weights(recipe.lpips, ()),
        "dino": recipe.dino and _weights(recipe.dino, ("config.json",)),
    }
    return recipe.model_copy(update={"entrants": entrants, **models})


def _check_sweep(entrant: Entrant) -> None:
    settings = entrant.settings
    if entrant.sweep is None or not isinstance(settings, DiffusersPipeline):
        return
    from factory.edits.editors.pipeline_class import settings_unknown

    if entrant.sweep.parameter in settings_unknown(settings):
        raise ConfigError(
            f"{entrant.name}: sweep must be over a setting that {settings.pipeline} takes, got "
            f"{entrant.sweep.parameter}"
        )


def _weights(source: ModelSource, needed: Sequence[str]) -> ModelSource:
    """A measure's weights, which lie on this machine: one file, or a folder with those that are needed."""
    path = Path(os.path.abspath(os.path.expanduser(source.source)))
    if not path.exists() or path.is_dir() != bool(needed):
        kind = "a folder" if needed else "a .safetensors file"
        raise ModelError(f"{source.source}: must be {kind} on this machine")
    files = [path]
    if needed:
        files = [path / name for name in needed] + sorted(path.glob("*.safetensors"))
        if len(files) == len(needed):
            raise ModelError(f"{path}: weights must be .safetensors files, got none")
    hashes = {}
    for file in files:
        if not file.is_file():
            raise ModelError(f"{path}: must hold {file.name}, got none")
        if file.suffix == ".safetensors" or not needed:
            check_numbers(file)
        hashes[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if source.files and source.files != hashes:
        raise ModelError(f"{path}: must hold the files that this recipe pins, got others")
    return source.model_copy(update={"source": str(path), "files": hashes})
