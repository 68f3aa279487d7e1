"""Pin one source of a model: its files looked at, then hashed."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from factory.errors import ModelError
from factory.models.checks.clip import describe
from factory.models.configs import LFS, check_configs
from factory.models.find import (
    Role,
    check_pinned,
    files_below,
    is_variant,
    model_folder,
    plain_name,
    read_files,
)
from factory.models.safetensors_header import check_numbers
from schemas.recipe import ModelSource

S = TypeVar("S", bound=ModelSource)

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Endings of files that are never opened."""


def pin_source(
    source: S,
    role: Role,
    needed: Sequence[str],
    *,
    configs: Callable[[Path], None] = lambda folder: None,
    weights: Callable[[Path], None],
) -> S:
    """`needed` are the files of a model's parts; beside each config.json lie its weights.

    `configs` raises `ModelError` for parts that do not go together, `weights` for files' headers that do
    not go with their parts: all before gigabytes are hashed.
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
        files = read_files(folder, role)
        check_configs(folder, files, role)
        configs(folder)
        for name in needed:
            if name.endswith("/config.json"):
                part = folder / name.removesuffix("/config.json")
                _check_weights(part, [file for file in files if file.parent == part])
        _check_weights(folder, files)
        weights(folder)
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
        pickled = [file.name for file in there if file.suffix in PICKLES]
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
