"""Pin a recipe's models by the hash of every file that is read; no weights are loaded here."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from factory import family_xl
from factory.errors import ModelError
from factory.family import check_autoencoder, check_unet, checkpoint_family
from factory.model_checks import single
from factory.model_checks.clip import check_clip, describe
from factory.model_checks.folder import autoencoder_weights, check_folder, folder_shapes
from factory.model_checks.known_configs import Autoencoder, Unet
from factory.model_checks.lora import check_lora
from factory.model_checks.parts import (
    check_latents,
    check_scaling,
    read_autoencoder,
    read_unet,
)
from factory.model_checks.shapes import text_shapes, unet_shapes
from factory.model_configs import LFS, check_configs
from factory.model_files import (
    Role,
    check_pinned,
    files_below,
    is_variant,
    model_folder,
    plain_name,
    read_files,
)
from factory.safetensors_header import check_numbers
from schemas.recipe import Lora, ModelSource, Recipe

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
    parts that do not fit each other or their weights, a size that does not suit the autoencoder, and
    files that are not the ones already pinned.
    """
    folder = model_folder(recipe.text_to_image, "text_to_image")
    if (folder / "unet" / "config.json").is_file():
        # Not below: training may go on from an editor, which takes 8 channels.
        check_unet(folder / "unet" / "config.json")
    text_to_image, autoencoder = pin_text_to_image(
        recipe.text_to_image, recipe.autoencoder, recipe.size_px, "recipe"
    )
    clip = recipe.clip
    models: dict[str, Any] = {
        "text_to_image": text_to_image,
        "autoencoder": autoencoder,
        "clip": _pinned(
            clip,
            "clip",
            () if clip.name else ("open_clip_config.json",),
            lambda folder: check_clip(folder, clip.name),
        ),
        "loras": tuple(_pinned_lora(lora, folder, text_to_image.name) for lora in recipe.loras),
    }
    return recipe.model_copy(update=models)


def pin_text_to_image(
    source: ModelSource, other: ModelSource | None, size_px: int, group: str
) -> tuple[ModelSource, ModelSource | None]:
    """A checkpoint, and another autoencoder if one is named, with their files' hashes.

    `group` is where a configuration names `size_px`. Raises `ModelError`, as `pin`.
    """
    pinned, unet, config = _pinned_checkpoint(source, other)
    autoencoder = None
    if other:
        autoencoder, config = _pinned_autoencoder(other, unet, config)
    assert config is not None
    factor = 2 ** (len(config.block_out_channels) - 1)
    if size_px % factor:
        raise ModelError(
            f"{group}.size_px: must be a multiple of {factor} (the autoencoder's factor), "
            f"got {size_px}"
        )
    return pinned, autoencoder


def _pinned_checkpoint(
    source: ModelSource, other: ModelSource | None
) -> tuple[ModelSource, Unet, Autoencoder | None]:
    """The text-to-image source, its UNet's config, and that of the autoencoder in it, if one is."""
    path = model_folder(source, "text_to_image")
    if path.is_file():
        family = ""

        def fits(file: Path) -> None:
            nonlocal family
            family = checkpoint_family(file, source.name, with_autoencoder=other is None)
            single.check_checkpoint(file, family, with_autoencoder=other is None)

        pinned = _pinned(source, "text_to_image", (), fits)
        unet, _ = single.family_parts(family)
        # Named even where the shapes alone decided: what a run is made with stands in its recipe.
        return pinned.model_copy(update={"name": family}), unet, single.family_autoencoder()
    needed = list(_TEXT_TO_IMAGE)
    if (path / family_xl.PARTS[0]).is_dir():
        needed += family_xl.FILES
    if other is None:
        needed.append("vae/config.json")
    pinned = _pinned(
        source,
        "text_to_image",
        needed,
        lambda folder: check_folder(folder, with_autoencoder=other is None),
    )
    if source.name is not None:
        raise ModelError(
            f"{path}: recipe.text_to_image.name must be null for a folder, got {source.name!r}"
        )
    own = path / "vae" / "config.json"
    return pinned, read_unet(path), read_autoencoder(own) if own.is_file() else None


def _pinned_autoencoder(
    source: ModelSource, unet: Unet, own: Autoencoder | None
) -> tuple[ModelSource, Autoencoder]:
    """Another autoencoder than `own`, that of the UNet's checkpoint."""
    path = model_folder(source, "autoencoder")
    file = path if path.is_file() else path / "config.json"
    found: list[Autoencoder] = []

    def fits(folder: Path) -> None:
        if folder.is_file():
            check_autoencoder(folder)
            vae = single.family_autoencoder()
        else:
            vae = read_autoencoder(file)
        found.append(vae)
        check_latents(file, vae, unet)
        if own is not None:
            check_scaling(file, vae, own, "as the autoencoder's that the U-Net was trained with")
        if folder.is_file():
            single.check_autoencoder(folder)
        else:
            autoencoder_weights(folder, vae)

    pinned = _pinned(source, "autoencoder", () if path.is_file() else ("config.json",), fits)
    return pinned, found[0]


def _pinned_lora(source: Lora, base: Path, family: str | None) -> Lora:
    """A LoRA for the model in a folder, or of a family in one file."""

    def fits(folder: Path) -> None:
        files = read_files(folder, "lora")
        if len(files) != 1:
            raise ModelError(f"{folder}: a LoRA is one .safetensors file, got {len(files)}")
        if family is not None:
            unet, text = single.family_parts(family)
            check_lora(files[0], unet_shapes(unet), text_shapes(text, projects=False))
        else:
            check_lora(files[0], *folder_shapes(base))

    return _pinned(source, "lora", (), fits)


def _pinned(source: S, role: Role, needed: Sequence[str], fits: Callable[[Path], None]) -> S:
    """`needed` are the files of a model's parts; beside each config.json lie its weights.

    `fits` raises `ModelError` for configs and headers that do not go together: before gigabytes are hashed.
    """
    folder = model_folder(source, role)
    if source.name is not None and role in ("autoencoder", "lora"):
        raise ModelError(f"{folder}: name must be null for role {role}, got {source.name!r}")
    try:
        for name in needed:
            if not (folder / name).is_file():
                single = role == "clip" and folder.is_file()
                more = (
                    "; recipe.clip.name says what architecture a single file is" if single else ""
                )
                raise ModelError(
                    f"{folder}: must be a model's folder with {name}, got {_found(folder)}{more}"
                )
            if name.endswith("/config.json"):
                part = folder / name.removesuffix("/config.json")
                _check_weights(part, [f for f in read_files(folder, role) if f.parent == part])
        files = read_files(folder, role)
        _check_weights(folder, files)
        check_configs(folder, files, role)
        fits(folder)
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
    names = sorted(path.name for path in folder.iterdir())[:6]
    return ", ".join(names) + describe(folder) if names else "an empty folder"


def _check_weights(folder: Path, files: Sequence[Path]) -> None:
    """Refuse a folder without safetensors, and one whose index names a file that is not there."""
    if not any(file.suffix == ".safetensors" for file in files):
        there = files_below(folder)
        pickled = [file.name for file in there if file.suffix in _PICKLES]
        variants = [file.name for file in there if is_variant(file.name)]
        got = f"only pickled weights ({pickled[0]})" if pickled else "none"
        if variants:
            name = variants[0]
            got = f"only {name}, a variant that is not read; rename it to {plain_name(name)}"
        raise ModelError(f"{folder}: weights must be .safetensors files, got {got}")
    for index in files:
        if index.name.endswith(".safetensors.index.json"):
            for shard in re.findall(rb'"([^"/]+\.safetensors)"', index.read_bytes()):
                if not (index.parent / shard.decode()).is_file():
                    raise ModelError(f"{index}: must name files that are there, got {shard!r}")


def _checked_hash(file: Path) -> str:
    """sha256 of a file; a safetensors file must be whole, its weights numbers, any file no pointer."""
    if file.suffix == ".safetensors":
        check_numbers(file)
    with file.open("rb") as stream:
        if stream.read(len(LFS)) == LFS:
            size = file.stat().st_size
            raise ModelError(
                f"{file}: must be the file itself, got a git-lfs pointer of {size} bytes; "
                "run `git lfs pull`"
            )
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()
