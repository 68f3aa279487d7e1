"""Find the files behind a model source: bundled, local, in a bucket, or a hub id at a pinned revision."""

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Literal

from factory import family_xl
from factory.errors import ModelError
from factory.model_cache import fetched
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
    """The local folder or file of a source; a hub id is fetched once, at its pinned revision, and a
    model in a bucket once for each of its versions.

    Raises `ModelError` where nothing is there, for a hub id without a 40-digit revision, and where a
    bucket holds other files than are pinned; `StorageError` of the bucket.
    """
    if source.source in _BUNDLED:
        return _BUNDLED[source.source]
    if source.source.startswith("s3://"):
        path, hashes = fetched(source.source, partial(_read_names, role=role))
        # Here, as each worker fetches for itself, and later than they were pinned.
        check_pinned(source.source, source.files, hashes)
        return path
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


def check_pinned(where: str | Path, pinned: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raise `ModelError` unless nothing is pinned, or these very files, by their sha256."""
    if pinned and pinned != found:
        changed = sorted(k for k in {*pinned, *found} if pinned.get(k) != found.get(k))
        raise ModelError(
            f"{where}: must hold the files that this recipe pins, got others: {', '.join(changed)}"
        )


def read_files(folder: Path, role: Role) -> list[Path]:
    """The files that a role reads, in name order; a single file is itself."""
    if folder.is_file():
        return [folder]
    names = [file.relative_to(folder).as_posix() for file in files_below(folder)]
    return [folder / name for name in _read_names(names, role)]


def _read_names(names: Sequence[str], role: Role) -> list[str]:
    """Of the files in a model's folder, by their names relative to it, those that a role reads."""
    read = [name for name in names if _is_read(name, role)]
    if role == "text_to_image" and not any(n.startswith(f"{family_xl.PARTS[0]}/") for n in names):
        # Of the smaller models nothing in it counts.
        read = [name for name in read if name != family_xl.INDEX]
    if role == "clip" and any(_is_open_clips(name) for name in read):
        # Beside open_clip's own weights a cache may hold other formats of the same ones.
        read = [n for n in read if not n.endswith(".safetensors") or _is_open_clips(n)]
    return read


def _is_open_clips(name: str) -> bool:
    return name.startswith("open_clip") and name.endswith(".safetensors")


def _is_read(name: str, role: Role) -> bool:
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
