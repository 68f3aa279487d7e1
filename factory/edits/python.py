"""Edits from Python: pictures and what is to be done to them in, edited pictures out; no run, no store."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np
from PIL import Image

from factory.console.config import EDIT_PRESETS, read_config
from factory.edits.listing import why_not
from factory.edits.prepare import pinned
from factory.edits.studio import Studio
from factory.errors import ConfigError, EditmillError
from factory.pictures import Picture
from factory.untrusted_image.child import in_rgb, upright
from schemas.edits import EditItem, EditRecipe, Edits


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
    with _STUDIOS.of(preset, tuple(settings)) as studio:
        found = dict(studio.edit(_asked(studio.recipe, pictures, instructions, captions, seed)))
    edited: list[Image.Image] = []
    for number in range(count):
        one = found[number]
        if one.picture is None:
            raise EditmillError(f"picture {number}: {one.reason}")
        edited.append(Image.fromarray(one.picture))
    return edited


def _asked(
    recipe: EditRecipe,
    pictures: Sequence[Image.Image],
    instructions: Sequence[str],
    captions: Sequence[str],
    seed: int,
) -> list[tuple[EditItem, Picture]]:
    """What an editor is told. Raises `ConfigError`."""
    editor, asked = recipe.editor, []
    for number, picture in enumerate(pictures):
        words, caption = instructions[number], captions[number] if captions else None
        told = {"instruction": words, "target_caption": words, "source_caption": caption}
        why = why_not(recipe, editor, told)
        if why:
            raise ConfigError(f"picture {number}: {editor} {why}")
        item = {"key": str(number), "image": str(number), "editor": editor, "seed": seed + number}
        blank = dict.fromkeys(EditItem.model_fields)
        asked.append((EditItem(**blank | item | told), _pixels(picture)))
    return asked


class KeptStudios:
    """Those of the last settings, for the next call; threads may share them."""

    def __init__(self, make: Callable[[str, tuple[str, ...]], Studio], most: int = 2) -> None:
        """`make` loads one; of those that nobody works with `most` stay at most."""
        self._make = make
        self._most = most
        self._lock = Lock()
        self._held: dict[tuple[str, tuple[str, ...]], Studio] = {}
        """The one that was asked for last comes last."""
        self._users: Counter[tuple[str, tuple[str, ...]]] = Counter()

    @contextmanager
    def of(self, preset: str, settings: tuple[str, ...]) -> Iterator[Studio]:
        """The one of these settings, which stays open inside."""
        key = preset, settings
        with self._lock:
            studio = self._held.pop(key, None) or self._make(preset, settings)
            self._held[key] = studio
            self._users[key] += 1
        try:
            yield studio
        finally:
            with self._lock:
                self._users[key] -= 1
                idle = [one for one in self._held if not self._users[one]]
                for one in idle[: max(0, len(self._held) - self._most)]:
                    self._held.pop(one).close()


def _studio(preset: str, settings: tuple[str, ...]) -> Studio:
    config = read_config(Edits, EDIT_PRESETS, preset, None, settings)
    return Studio(pinned(config.recipe, None), config.compute)


_STUDIOS = KeptStudios(_studio)


def _pixels(image: Image.Image) -> Picture:
    """As the confined decoder opens a file."""
    image.load()
    flat, _ = in_rgb(image, image.info.get("icc_profile"))
    return np.asarray(upright(flat, image))
