"""An instruction editor's checkpoint, told from a text-to-image model and from the training of one."""

from pathlib import Path

from factory.errors import EditmillError, ModelError
from factory.models.configs import read_config
from factory.models.family import check_unet
from factory.models.family_xl import INDEX, check_xl, is_xl
from factory.models.find import model_folder
from factory.models.pin import pin_text_to_image
from factory.storage.open import open_store
from schemas.recipe import ModelSource
from schemas.training.root import EDITOR, RECORD

LATENT_CHANNELS = 4
EDITOR_CHANNELS = 2 * LATENT_CHANNELS


def check_editor(source: ModelSource) -> None:
    """Raise `ModelError` for the training of an editor, and for any UNet that takes no picture."""
    _check_is_no_training(source.source)
    folder = model_folder(source, "text_to_image")
    config = folder / "unet" / "config.json"
    if config.is_file() or folder.is_file():
        channels = read_config(config).get("in_channels", 4) if config.is_file() else 4
        if channels != EDITOR_CHANNELS:
            raise ModelError(
                f"{source.source}: an editor's UNet must have {EDITOR_CHANNELS} input channels, got "
                f"{channels}; a text-to-image model becomes one by `editmill fit`"
            )


def pin_editor(source: ModelSource, size_px: int) -> ModelSource:
    """An editor of pictures with such sides, with every file's hash. Raises `ModelError`."""
    check_editor(source)
    pinned, _ = pin_text_to_image(source, None, size_px, "editor")
    return pinned


def check_source(folder: Path) -> None:
    """Raise `ModelError` unless a model's UNet is Stable Diffusion 1.x, 2.x or XL's, or an editor's."""
    file = folder / "unet" / "config.json"
    fields = read_config(file)
    if is_xl(fields):
        check_xl(folder, (LATENT_CHANNELS, EDITOR_CHANNELS))
        return
    editor = fields.get("in_channels") == EDITOR_CHANNELS
    if not editor or fields.get("addition_embed_type") is not None:
        check_unet(file)


def _check_is_no_training(uri: str) -> None:
    """Point from a training's root to the editor in it. Raises `ModelError`."""
    try:
        store = open_store(uri)
        is_training = store.find(RECORD) is not None
        # Its index is the last of its files.
        has_editor = is_training and store.find(f"{EDITOR}{INDEX}") is not None
    except EditmillError:
        # No place of ours: the models' own errors say what is wrong with it.
        return
    if is_training:
        editor = f"{uri.rstrip('/')}/{EDITOR.rstrip('/')}"
        hint = f"give {editor}" if has_editor else "its editor is not written yet: `fit` goes on"
        raise ModelError(f"{uri}: must be an editor, got the training of one; {hint}")
