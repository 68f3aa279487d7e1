"""Edits from Python: pictures and what is to be done to them in, edited pictures out; no run, no store."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from factory.console.config import EDIT_PRESETS, read_config
from factory.edits.prepare import pinned
from factory.edits.studio import Studio
from factory.errors import EditmillError
from schemas.edits import EditItem, Edits


def edit(
    pictures: Sequence[Image.Image],
    instructions: Sequence[str],
    *,
    preset: str = "miniature",
    settings: Sequence[str] = (),
    seed: int = 0,
) -> list[Image.Image]:
    """Each picture edited by its instruction, at its own size; as the command `edit` makes them.

    `settings` are as `--set` takes them (`recipe.ip2p.steps=25`, `recipe.editor=sdedit`); for `sdedit` an
    instruction is the caption as it should be. Picture number n starts from noise by `seed` + n. The models
    are kept for the next call with the same preset and settings. Raises `EditmillError` for an edit that
    cannot be made, and `ConfigError` and `ModelError` for what is wrong with the settings.
    """
    if len(pictures) != len(instructions):
        raise ValueError(
            f"instructions: must be one for each picture, got {len(instructions)} for {len(pictures)}"
        )
    studio = _studio(preset, tuple(settings))
    asked = [
        (_item(studio.recipe.editor, number, words, seed + number), np.asarray(one.convert("RGB")))
        for number, (one, words) in enumerate(zip(pictures, instructions, strict=True))
    ]
    found = dict(studio.edit(asked))
    edited: list[Image.Image] = []
    for number in range(len(asked)):
        one = found[number]
        if one.picture is None:
            raise EditmillError(f"picture {number}: {one.reason}")
        edited.append(Image.fromarray(one.picture))
    return edited


@lru_cache(maxsize=2)
def _studio(preset: str, settings: tuple[str, ...]) -> Studio:
    config = read_config(Edits, EDIT_PRESETS, preset, None, settings)
    return Studio(pinned(config.recipe, None), config.compute)


def _item(editor: str, number: int, words: str, seed: int) -> EditItem:
    told = {"instruction": words, "target_caption": words}
    given = {"key": str(number), "image": str(number), "editor": editor, "seed": seed, **told}
    return EditItem(**dict.fromkeys(EditItem.model_fields) | given)
