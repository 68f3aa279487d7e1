"""Edits from Python: pictures and what is to be done to them in, edited pictures out; no run, no store."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from factory.console.config import EDIT_PRESETS, read_config
from factory.edits.listing import why_not
from factory.edits.prepare import pinned
from factory.edits.studio import Studio
from factory.errors import ConfigError, EditmillError
from factory.pictures import Picture
from factory.untrusted_image.child import in_rgb, upright
from schemas.edits import EditItem, Edits


def edit(
    pictures: Sequence[Image.Image],
    instructions: Sequence[str],
    *,
    preset: str = "miniature",
    settings: Sequence[str] = (),
    seed: int = 0,
    captions: Sequence[str] = (),
) -> list[Image.Image]:
    """Each picture edited by its instruction, at its own size; as the command `edit` makes them: turned
    upright by its EXIF, laid over white where it is transparent, brought to sRGB by its profile.

    `settings` are as `--set` takes them (`recipe.ip2p.steps=25`, `recipe.editor=sdedit`); for `sdedit`,
    `pnp` and `p2p` an instruction is the caption as it should be, and `captions` say what each picture
    shows, which `p2p` needs. Picture number n starts from noise by `seed` + n. The models are kept for the
    next call with the same preset and settings. Raises `EditmillError` for an edit that cannot be made, and
    `ConfigError` and `ModelError` for what is wrong with the settings.
    """
    count = len(pictures)
    for name, texts in (("instructions", instructions), ("captions", captions)):
        if len(texts) != count and (texts or name == "instructions"):
            raise ValueError(f"{name}: must be one for each picture, got {len(texts)} for {count}")
    studio = _studio(preset, tuple(settings))
    editor, asked = studio.recipe.editor, []
    for number, picture in enumerate(pictures):
        words, caption = instructions[number], captions[number] if captions else None
        told = {"instruction": words, "target_caption": words, "source_caption": caption}
        why = why_not(studio.recipe, editor, told)
        if why:
            raise ConfigError(f"picture {number}: {editor} {why}")
        item = {"key": str(number), "image": str(number), "editor": editor, "seed": seed + number}
        blank = dict.fromkeys(EditItem.model_fields)
        asked.append((EditItem(**blank | item | told), _pixels(picture)))
    found = dict(studio.edit(asked))
    edited: list[Image.Image] = []
    for number in range(count):
        one = found[number]
        if one.picture is None:
            raise EditmillError(f"picture {number}: {one.reason}")
        edited.append(Image.fromarray(one.picture))
    return edited


@lru_cache(maxsize=2)
def _studio(preset: str, settings: tuple[str, ...]) -> Studio:
    config = read_config(Edits, EDIT_PRESETS, preset, None, settings)
    return Studio(pinned(config.recipe, None), config.compute)


def _pixels(image: Image.Image) -> Picture:
    """As the confined decoder opens a file."""
    image.load()
    flat, _ = in_rgb(image, image.info.get("icc_profile"))
    return np.asarray(upright(flat, image))
