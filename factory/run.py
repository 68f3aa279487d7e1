"""A run: one root that holds one recipe's dataset."""

import json
from typing import Any

from pydantic import ValidationError

from factory import keys
from factory.errors import Damaged, ObjectMissing, RunMismatch
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from schemas.canonical import canonical_json
from schemas.commit import RunRecord
from schemas.recipe import Recipe


class Run:
    """An opened run: its store and its recipe. Cheap to make, safe to pickle."""

    def __init__(self, store: ObjectStore, recipe: Recipe) -> None:
        self.store = store
        self.recipe = recipe

    @property
    def uri(self) -> str:
        """The run's root."""
        return self.store.uri


def create_run(store: ObjectStore, recipe: Recipe) -> Run:
    """Open the run, or begin it; its recipe must have pinned files.

    Raises `RunMismatch` where the root holds something else, or a run with another recipe, naming
    the fields that differ.
    """
    record = RunRecord(recipe=recipe.model_dump(mode="json"), recipe_hash=recipe.recipe_hash)
    if not is_begun(store):
        store.put_new(keys.RUN, canonical_json(record.model_dump(mode="json")))
    run = open_run(store)
    differing = differing_fields(run.recipe.identity(), recipe.identity())
    if differing:
        raise RunMismatch(
            f"{store.uri}: holds a run with another recipe; differing: {'; '.join(differing)}"
        )
    # Ours, whose models lie where this start found them.
    return Run(store, recipe)


def is_begun(store: ObjectStore) -> bool:
    """Whether the root holds a run; False for an empty one.

    Raises `RunMismatch` where it holds something else than the bytes by which a store is tried.
    """
    if store.find(keys.RUN) is not None:
        return True
    stranger = next((o.key for o in store.list() if not o.key.startswith("probe/")), None)
    if stranger is not None:
        raise RunMismatch(
            f"{store.uri}: must be empty or a run of editmill, got {stranger!r} and no RUN.json"
        )
    return False


def open_run(root: ObjectStore | str) -> Run:
    """Open a run that exists, by its store or URI.

    Raises `RunMismatch` where there is none, `Damaged` where RUN.json is.
    """
    store = open_store(root) if isinstance(root, str) else root
    try:
        data = store.get(keys.RUN)
    except ObjectMissing:
        raise RunMismatch(f"{store.uri}: no run here: RUN.json is missing") from None
    try:
        record = RunRecord.model_validate_json(data)
        recipe = Recipe.model_validate_json(json.dumps(record.recipe))
    except ValidationError as error:
        raise Damaged(
            f"{store.uri}/{keys.RUN}: not a run record: {error.errors()[0]['msg']}"
        ) from None
    if recipe.recipe_hash != record.recipe_hash:
        raise Damaged(
            f"{store.uri}/{keys.RUN}: recipe does not match its hash {record.recipe_hash}"
        )
    return Run(store, recipe)


def differing_fields(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Every leaf that differs, as `name: old -> new`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for name in sorted({*ours, *theirs})
            for line in differing_fields(
                ours.get(name), theirs.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if ours == theirs else [f"{where}: {_short(ours)} -> {_short(theirs)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
