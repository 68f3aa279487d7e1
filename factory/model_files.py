"""Find the files behind a model source: bundled, local, or a hub id at a pinned revision."""

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from factory import family_xl
from factory.errors import ModelError
from schemas.recipe import ModelSource

MINIATURE = Path(__file__).parent / "miniature" / "weights"

Role = Literal["text_to_image", "autoencoder", "clip", "lora"]

_BUNDLED = {
    "miniature": MINIATURE / "text_to_image",
    "miniature/clip": MINIATURE / "clip",
    "miniature/editor": MINIATURE / "editor",
}
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", *family_xl.PARTS)
# What a role reads, relative to its folder. Hub repositories hold the same weights several times
# over: whole-pipeline files of several GB beside the parts, half precision, before averaging.
_READ: dict[Role, tuple[str, ...]] = {
    "text_to_image": (
        *(f"{p}/*.{e}" for p in _PARTS for e in ("json", "txt", "safetensors")),
        family_xl.INDEX,
    ),
    "autoencoder": ("*.json", "diffusion_pytorch_model*.safetensors"),
    "clip": ("*.json", "*.txt", "*.safetensors"),
    "lora": ("*.safetensors",),
}
_NOT_READ = ("*.fp16.*", "*.non_ema.*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def model_folder(source: ModelSource, role: Role) -> Path:
    """The local folder or file of a source; a hub id is fetched once, at its pinned revision.

    Raises `ModelError` where nothing is there, and for a hub id without a 40-digit revision.
    """
    if source.source in _BUNDLED:
        return _BUNDLED[source.source]
    # Not Path's own, which raise for an unknown user and for names that are too long.
    path = Path(os.path.expanduser(source.source))
    if os.path.exists(path):
        return path
    if not _HUB_ID.fullmatch(source.source):
        raise ModelError(f"{source.source}: no such file or folder, and not a hub id owner/name")
    if not re.fullmatch(r"[0-9a-f]{40}", source.revision or ""):
        raise ModelError(
            f"{source.source}: no such folder here; a hub id needs `revision`, a commit of 40 hex "
            f"digits, got {source.revision!r}"
        )
    return _fetch(source, role)


def _fetch(source: ModelSource, role: Role) -> Path:
    from huggingface_hub import snapshot_download

    # A hub's CLIP repository may hold other formats' weights too; open_clip's are named so.
    wanted = [
        pattern if role != "clip" else pattern.replace("*.safetensors", "open_clip*.safetensors")
        for pattern in _READ[role]
    ]
    try:
        return Path(
            snapshot_download(
                source.source,
                revision=source.revision,
                allow_patterns=wanted,
                ignore_patterns=list(_NOT_READ),
            )
        )
    except Exception as error:  # the hub's, its HTTP client's (which has changed), the disk's
        raise ModelError(
            f"{source.source}@{source.revision}: not in the local cache and the hub did not give "
            f"it ({type(error).__name__})"
        ) from error


def read_files(folder: Path, role: Role) -> list[Path]:
    """The files that a role reads, in name order; a single file is itself."""
    if folder.is_file():
        return [folder]
    files = [file for file in files_below(folder) if _is_read(file.relative_to(folder), role)]
    if role == "text_to_image" and not (folder / family_xl.PARTS[0]).is_dir():
        # Of the smaller models nothing in it counts.
        files = [file for file in files if file.name != family_xl.INDEX]
    if role == "clip" and any(_is_open_clips(file) for file in files):
        # Beside open_clip's own weights a cache may hold other formats of the same ones.
        files = [f for f in files if f.suffix != ".safetensors" or _is_open_clips(f)]
    return files


def _is_open_clips(file: Path) -> bool:
    return file.name.startswith("open_clip") and file.suffix == ".safetensors"


def _is_read(relative: Path, role: Role) -> bool:
    name = relative.as_posix()
    if any(fnmatch(name, pattern) for pattern in _NOT_READ):
        return False
    # fnmatch's star crosses folders, a role's does not.
    return any(
        fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in _READ[role]
    )


def files_below(folder: Path) -> list[Path]:
    """Every file, in name order."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file())
