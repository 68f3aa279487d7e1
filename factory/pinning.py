"""Pin a recipe's models by the hash of every file that is read; no weights are loaded here."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from factory import family_xl
from factory.errors import ModelError
from factory.family import autoencoder_fields, check_autoencoder, check_unet, checkpoint_family
from factory.model_configs import check_configs
from factory.model_files import Role, check_pinned, files_below, model_folder, read_files
from factory.safetensors_header import check_numbers
from schemas.recipe import ModelSource, Recipe

S = TypeVar("S", bound=ModelSource)

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_TEXT_TO_IMAGE = (
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
"""Besides the autoencoder, which may come from elsewhere."""


def pin(recipe: Recipe) -> Recipe:
    """The recipe with every weight and config file named by its sha256.

    Raises `ModelError` before any weight is loaded: missing, cut or pickled files, git-lfs pointers,
    a size that does not suit the autoencoder, and files that are not the ones already pinned.
    """
    text_to_image, autoencoder = pin_text_to_image(
        recipe.text_to_image, recipe.autoencoder, recipe.size_px, "recipe"
    )
    folder = model_folder(recipe.text_to_image, "text_to_image")
    if folder.is_dir():
        # Not below: training may go on from an editor, which takes 8 channels.
        check_unet(folder / "unet" / "config.json")
    models: dict[str, Any] = {
        "text_to_image": text_to_image,
        "autoencoder": autoencoder,
        "clip": _pinned(
            recipe.clip, "clip", () if recipe.clip.name else ("open_clip_config.json",)
        ),
        "loras": tuple(_pinned(lora, "lora", ()) for lora in recipe.loras),
    }
    return recipe.model_copy(update=models)


def pin_text_to_image(
    source: ModelSource, other: ModelSource | None, size_px: int, group: str
) -> tuple[ModelSource, ModelSource | None]:
    """A checkpoint, and another autoencoder if one is named, with their files' hashes.

    `group` is where a configuration names `size_px`. Raises `ModelError`, as `pin`.
    """
    pinned, config = _pinned_checkpoint(source, other)
    autoencoder = None
    if other:
        autoencoder, config = _pinned_autoencoder(other)
    _check_size(size_px, config, group)
    return pinned, autoencoder


def _pinned_checkpoint(
    source: ModelSource, other: ModelSource | None
) -> tuple[ModelSource, Path | dict[str, Any]]:
    """The text-to-image source, and the config of the autoencoder in it."""
    path = model_folder(source, "text_to_image")
    if path.is_file():
        pinned = _pinned(source, "text_to_image", ())
        family = checkpoint_family(path, source.name, with_autoencoder=other is None)
        # Named even where the shapes alone decided: what a run is made with stands in its recipe.
        return pinned.model_copy(update={"name": family}), autoencoder_fields()
    needed = list(_TEXT_TO_IMAGE)
    if (path / family_xl.PARTS[0]).is_dir():
        needed += family_xl.FILES
    if other is None:
        needed.append("vae/config.json")
    pinned = _pinned(source, "text_to_image", needed)
    if source.name is not None:
        raise ModelError(
            f"{path}: recipe.text_to_image.name must be null for a folder, got {source.name!r}"
        )
    return pinned, path / "vae" / "config.json"


def _pinned_autoencoder(source: ModelSource) -> tuple[ModelSource, Path | dict[str, Any]]:
    path = model_folder(source, "autoencoder")
    if path.is_file():
        pinned = _pinned(source, "autoencoder", ())
        check_autoencoder(path)
        return pinned, autoencoder_fields()
    return _pinned(source, "autoencoder", ("config.json",)), path / "config.json"


def _check_size(size_px: int, config: Path | dict[str, Any], group: str) -> None:
    try:
        fields = json.loads(config.read_bytes()) if isinstance(config, Path) else config
        factor = 2 ** (len(fields["block_out_channels"]) - 1)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{config}: must be an autoencoder's JSON with block_out_channels, got "
            f"{type(error).__name__}"
        ) from None
    if size_px % factor:
        raise ModelError(
            f"{group}.size_px: must be a multiple of {factor} (the autoencoder's factor), "
            f"got {size_px}"
        )


def _pinned(source: S, role: Role, needed: Sequence[str]) -> S:
    """`needed` are the files of a model's parts; beside each config.json lie its weights."""
    folder = model_folder(source, role)
    if source.name is not None and role in ("autoencoder", "lora"):
        raise ModelError(f"{folder}: name must be null for role {role}, got {source.name!r}")
    try:
        for name in needed:
            if not (folder / name).is_file():
                raise ModelError(
                    f"{folder}: must be a model's folder with {name}, got {_found(folder)}"
                )
            if name.endswith("/config.json"):
                part = folder / name.removesuffix("/config.json")
                _check_weights(part, [f for f in read_files(folder, role) if f.parent == part])
        files = read_files(folder, role)
        _check_weights(folder, files)
        check_configs(files)
        root = folder if folder.is_dir() else folder.parent
        hashes = {file.relative_to(root).as_posix(): _checked_hash(file) for file in files}
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None
    check_pinned(folder, source.files, hashes)
    found: dict[str, Any] = {"files": hashes}
    if os.path.exists(os.path.expanduser(source.source)):
        # Workers may run in another folder.
        found["source"] = os.path.abspath(os.path.expanduser(source.source))
    return source.model_copy(update=found)


def _found(folder: Path) -> str:
    """What is there instead, for a message."""
    if folder.is_file():
        return "a file"
    return ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "an empty folder"


def _check_weights(folder: Path, files: Sequence[Path]) -> None:
    """Refuse a folder without safetensors, and one whose index names a file that is not there."""
    if not any(file.suffix == ".safetensors" for file in files):
        pickled = [file.name for file in files_below(folder) if file.suffix in _PICKLES]
        got = f"only pickled weights ({pickled[0]})" if pickled else "none"
        raise ModelError(f"{folder}: weights must be .safetensors files, got {got}")
    for index in files:
        if index.name.endswith(".safetensors.index.json"):
            for shard in re.findall(rb'"([^"/]+\.safetensors)"', index.read_bytes()):
                if not (index.parent / shard.decode()).is_file():
                    raise ModelError(f"{index}: must name files that are there, got {shard!r}")


def _checked_hash(file: Path) -> str:
    """sha256 of a file; a safetensors file must be whole, and its weights numbers."""
    if file.suffix == ".safetensors":
        check_numbers(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
