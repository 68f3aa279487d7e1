"""Find the files behind a model source and pin them by hash; no weights are loaded here."""

import hashlib
import re
from pathlib import Path
from typing import TypeVar

from factory.errors import ModelError
from schemas.recipe import ModelSource, Recipe

S = TypeVar("S", bound=ModelSource)

MINIATURE = Path(__file__).parent / "miniature" / "weights"
_MINIATURE_FOLDERS = {
    "miniature": MINIATURE / "text_to_image",
    "miniature/clip": MINIATURE / "clip",
}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def model_folder(source: ModelSource) -> Path:
    """The local folder or file of a source; a hub id is fetched once, at its pinned revision.

    Raises `ModelError` where nothing is there, and for a hub id without a 40-digit revision.
    """
    if source.source in _MINIATURE_FOLDERS:
        return _MINIATURE_FOLDERS[source.source]
    path = Path(source.source).expanduser()
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(source.source):
        raise ModelError(f"{source.source}: no such file or folder, and not a hub id owner/name")
    if not re.fullmatch(r"[0-9a-f]{40}", source.revision or ""):
        raise ModelError(
            f"{source.source}: no such folder here; a hub id needs `revision`, a commit of 40 hex "
            f"digits, got {source.revision!r}"
        )
    return _fetch(source)


def _fetch(source: ModelSource) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.source,
                revision=source.revision,
                allow_patterns=["*.json", "*.txt", "*.safetensors", "*.model"],
                ignore_patterns=["*.fp16.*", "*.non_ema.*", "safety_checker/*"],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{source.source}@{source.revision}: not in the local cache and the hub did not give "
            f"it ({type(error).__name__})"
        ) from error


def pin(recipe: Recipe) -> Recipe:
    """The recipe with every weight and config file named by its sha256.

    Raises `ModelError` before any weight is loaded: missing, cut or pickled files, git-lfs pointers,
    and files that are not the ones already pinned.
    """
    models = {
        "text_to_image": _pinned(recipe.text_to_image, folder_of="unet"),
        "clip": _pinned(recipe.clip, folder_of=None),
        "loras": tuple(_pinned(lora, folder_of=None) for lora in recipe.loras),
    }
    if recipe.autoencoder:
        models["autoencoder"] = _pinned(recipe.autoencoder, folder_of=None)
    return recipe.model_copy(update=models)


def _pinned(source: S, folder_of: str | None) -> S:
    folder = model_folder(source)
    files = _weight_files(folder)
    if not any(file.suffix == ".safetensors" for file in files):
        pickled = [f for f in _files_below(folder) if f.suffix in _PICKLES]
        got = f"only pickled weights ({pickled[0].name})" if pickled else "none"
        raise ModelError(f"{folder}: weights must be .safetensors files, got {got}")
    if folder_of and folder.is_dir() and not (folder / folder_of / "config.json").is_file():
        raise ModelError(f"{folder}: expected a diffusers folder with {folder_of}/config.json")
    root = folder if folder.is_dir() else folder.parent
    hashes = {file.relative_to(root).as_posix(): _checked_hash(file) for file in files}
    if source.files and source.files != hashes:
        changed = sorted(
            k for k in {*source.files, *hashes} if source.files.get(k) != hashes.get(k)
        )
        raise ModelError(f"{folder}: files are not the ones of this run: {', '.join(changed)}")
    return source.model_copy(update={"files": hashes})


def _files_below(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _weight_files(folder: Path) -> list[Path]:
    wanted = (".safetensors", ".json", ".txt")
    return [file for file in _files_below(folder) if file.suffix in wanted]


def _checked_hash(file: Path) -> str:
    """sha256 of a file; a safetensors file must be as long as its header says."""
    if file.suffix == ".safetensors":
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(8)
            if head.startswith(b"version "):
                raise ModelError(f"{file}: expected weights, got a git-lfs pointer of {size} bytes")
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > size - 8:
                raise ModelError(f"{file}: not a whole safetensors file: {size} bytes, header cut")
            spans = [
                int(end)
                for end in re.findall(rb'"data_offsets":\s*\[\d+,\s*(\d+)\]', stream.read(length))
            ]
        if size != 8 + length + max(spans, default=0):
            raise ModelError(
                f"{file}: must be {8 + length + max(spans, default=0)} bytes by its header, got {size}"
            )
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
