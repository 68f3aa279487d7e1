"""The preset of a training where none is given: that of one that is there, or the miniature's own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from factory.console.config import (
    FIT_PRESETS,
    MINIATURE,
    Choice,
    choose_config,
    must_be_given,
    preset_names,
    read_config,
)
from factory.dataset.files import find_files
from factory.errors import ConfigError, EditmillError
from factory.storage.open import open_store
from factory.verbs.preset_choice import Nearest, find_recipe, nearest
from schemas.training.fit import Fit, Law
from trainer.root.training import find_training


def choose(
    preset: str | None, file: Path | None, settings: Sequence[str], dataset: str, out: str
) -> Choice[Fit]:
    """The configuration for a dataset and the training at `out`.

    Without a preset or a file a training that is there goes on with the preset that it was begun with,
    and a run that the miniature's models made is trained on with the miniature. Else raises `InputError`:
    for a dataset that is not there, then for whatever else is wrong with what is given.
    """

    def unasked() -> tuple[str, str]:
        begun = _find_law(out)
        found = _nearest(begun, settings) if begun else None
        if found and not found.differing:
            return found.preset, f"which the training in {out} was begun with"
        made = find_recipe(dataset) if not dataset.endswith(".parquet") else None
        if made and made.text_to_image.source == MINIATURE:
            return MINIATURE, "by which the dataset was made"
        files = find_files(dataset, pattern="*")
        if files.store.find(files.names[0]) is None:
            raise ConfigError(
                f"--dataset {dataset}: must be a sealed run, a folder or a file, got none"
            )
        there = f"; {out} holds a training by {found.words}" if found else ""
        raise must_be_given("for this dataset", FIT_PRESETS, there)

    return choose_config(Fit, FIT_PRESETS, preset, file, settings, unasked=unasked)


def _find_law(out: str) -> Law | None:
    """The law of the training there; None where there is none, or none that can be read."""
    try:
        found = find_training(open_store(out))
        return Law.model_validate_json(json.dumps(found.law)) if found else None
    except (EditmillError, ValidationError):
        # Who opens it to work there says what is wrong with it.
        return None


def _nearest(begun: Law, settings: Sequence[str]) -> Nearest:
    presets = {
        name: _fields(read_config(Fit, FIT_PRESETS, name, None, settings).law)
        for name in preset_names(FIT_PRESETS)
    }
    return nearest(presets, _fields(begun))


def _fields(law: Law) -> dict[str, Any]:
    """A law's, as they were before its models' files were named by their hashes."""
    fields = law.model_dump(mode="json")
    for source in (fields["model"], fields["autoencoder"]):
        if source:
            del source["files"]
    if not law.cool_down:
        # A longer training goes on where the shorter one stopped.
        del fields["steps"]
    return fields
