"""Find the files behind a model source: bundled, local, in a bucket, or a hub id at a pinned revision."""

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Literal

from factory.console.log import is_json
from factory.errors import ModelError
from factory.models import family_xl
from factory.models.fetch import fetched, tell_fetch
from schemas.recipe import ModelSource, Recipe

MINIATURE = Path(__file__).parents[1] / "miniature" / "weights"
LANGUAGE = MINIATURE / "language"
"""The miniature's language model, for `captions` and `train-language`."""

Role = Literal["text_to_image", "autoencoder", "clip", "lora", "pipeline", "language"]

_BUNDLED = {
    "miniature": MINIATURE / "text_to_image",
    "miniature/clip": MINIATURE / "clip",
    "miniature/editor": MINIATURE / "editor",
    "miniature/language": LANGUAGE,
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
    "language": ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"),
    # Parts under any names; what lies beside them at the top are other formats of the same weights.
    "pipeline": (
        *("model_index.json", "modular_model_index.json"),
        *(f"*/*.{end}" for end in ("json", "txt", "model", "jinja", "safetensors")),
    ),
}
_VARIANTS = ("fp16", "non_ema")
_NOT_READ = tuple(f"*.{variant}{end}" for variant in _VARIANTS for end in (".*", "-*"))
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WAITS_S = (0, 1, 2)
"""Before each time that the hub is asked whether it is there."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def model_folder(source: ModelSource, role: Role) -> Path:
    """The local folder or file of a source; a hub id is fetched once, at its pinned revision, and a
    model in a bucket once for each of its versions.

    Raises `ModelError` where nothing is there, for a hub id without a 40-digit revision, and where a
    bucket holds other files than are pinned; `StorageError` of the bucket.
    """
    if source.source in _BUNDLED:
        return _BUNDLED[source.source]
    if source.source.startswith("s3://"):
        choose = partial(_read_names, role=role, where=source.source)
        path, hashes = fetched(source.source, choose)
        # Here, as each worker fetches for itself, and later than they were pinned.
        check_pinned(source.source, source.files, hashes)
        return path
    if (here := _local(source)) is not None:
        return here
    if not _HUB_ID.fullmatch(source.source) or source.source.endswith(".safetensors"):
        raise ModelError(f"{source.source}: no such file or folder, and not a hub id owner/name")
    if not _COMMIT.fullmatch(source.revision or ""):
        raise ModelError(
            f"{source.source}: no such folder here; a hub id needs `revision`, a commit of 40 hex "
            f"digits, got {source.revision!r}"
        )
    try:
        return _snapshot(source, role)
    except ModelError:
        raise
    except Exception as error:  # the hub's, its HTTP client's (which has changed), the disk's
        raise ModelError(
            f"{source.source}@{source.revision}: not in the local cache and the hub did not give "
            f"it ({type(error.__cause__ or error).__name__})"
        ) from error


def placed(source: ModelSource, role: Role) -> ModelSource:
    """A source as a path on this machine, which is what the engine takes. Raises as `model_folder`."""
    return source.model_copy(update={"source": str(model_folder(source, role))})


def placed_parts(
    model: ModelSource, autoencoder: ModelSource | None
) -> tuple[ModelSource, ModelSource | None]:
    """A text-to-image model and perhaps another autoencoder, each as `placed`."""
    other = placed(autoencoder, "autoencoder") if autoencoder else None
    return placed(model, "text_to_image"), other


def placed_models(recipe: Recipe) -> Recipe:
    """A recipe with all of its models `placed`."""
    model, autoencoder = placed_parts(recipe.text_to_image, recipe.autoencoder)
    models = {
        "text_to_image": model,
        "autoencoder": autoencoder,
        "clip": placed(recipe.clip, "clip"),
        "loras": tuple(placed(lora, "lora") for lora in recipe.loras),
    }
    return recipe.model_copy(update=models)


def model_sources(recipe: Recipe) -> list[tuple[str, ModelSource, Role]]:
    """Each model under its key in the recipe."""
    sources: list[tuple[str, ModelSource, Role]] = [
        ("text_to_image", recipe.text_to_image, "text_to_image")
    ]
    if recipe.autoencoder:
        sources.append(("autoencoder", recipe.autoencoder, "autoencoder"))
    sources.append(("clip", recipe.clip, "clip"))
    return sources + [(f"loras.{i}", lora, "lora") for i, lora in enumerate(recipe.loras)]


def whereabouts(source: ModelSource) -> Literal["bundled", "here", "bucket", "hub", "nowhere"]:
    """Where a model lies, by its source alone; `nowhere` is a path that is not on this machine."""
    if source.source in _BUNDLED:
        return "bundled"
    if source.source.startswith("s3://"):
        return "bucket"
    if _local(source):
        return "here"
    return "hub" if _is_on_hub(source) else "nowhere"


def still_to_fetch(models: Sequence[tuple[str, ModelSource, Role]]) -> list[str]:
    """What `model_folder` will ask the hub for, to be said before: without a network it tries long."""
    if not any(_is_on_hub(source) for _, source, _ in models):
        return []
    from huggingface_hub import constants

    asked: list[str] = []
    for _, source, role in models:
        if not _is_on_hub(source) or constants.HF_HUB_OFFLINE:
            continue
        try:
            _snapshot(source, role, local_files_only=True)
        except Exception:  # of as many kinds as above
            asked.append(
                f"fetches {source.source}@{source.revision} from {constants.ENDPOINT} into "
                f"{constants.HF_HUB_CACHE}; where it is not reached this is tried for half a minute, with "
                "HF_HUB_OFFLINE=1 not at all"
            )
    return asked


def _local(source: ModelSource) -> Path | None:
    # Not Path's own, which raise for an unknown user and for names that are too long.
    path = Path(os.path.expanduser(source.source))
    return path if os.path.exists(path) else None


def _is_on_hub(source: ModelSource) -> bool:
    here = source.source in _BUNDLED or source.source.startswith("s3://") or _local(source)
    hub_id = _HUB_ID.fullmatch(source.source) and _COMMIT.fullmatch(source.revision or "")
    return not here and bool(hub_id)


def _snapshot(source: ModelSource, role: Role, *, local_files_only: bool = False) -> Path:
    """Of the hub's cache. Raises its many errors, and `ModelError` where only variants are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.logging import set_verbosity_error

    set_verbosity_error()
    # A hub's CLIP repository may hold other formats' weights too; open_clip's are named so.
    wanted = [
        pattern if role != "clip" else pattern.replace("*.safetensors", "open_clip*.safetensors")
        for pattern in _READ[role]
    ]
    where = f"{source.source}@{source.revision}"
    found = partial(
        snapshot_download,
        source.source,
        revision=source.revision,
        allow_patterns=wanted,
    )
    local = partial(found, ignore_patterns=list(_NOT_READ), local_files_only=True)
    if local_files_only:
        return Path(local())
    here, planned = None, []
    with suppress(Exception):
        here = Path(local())
    if here is None and (why := _why_not_asked()):
        raise ModelError(f"{where}: not in the local cache, and {why}")
    try:
        planned = found(dry_run=True)
    except Exception:
        if here is not None:
            return here
    _read_names([file.filename for file in planned], role, where)
    if is_json() or not sys.stderr.isatty():
        # On a terminal the library draws a bar.
        for file in planned:
            if file.will_download and _is_read(file.filename, role):
                tell_fetch(f"{where}/{file.filename}", file.file_size)
    return Path(found(ignore_patterns=list(_NOT_READ)))


def _why_not_asked() -> str | None:
    """Why the hub cannot be asked, if so: its library would try for half a minute, and say so each time."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE=1 keeps the hub from being asked"
    for wait_s in WAITS_S:
        time.sleep(wait_s)
        with suppress(Exception):
            get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            return None
    return f"{constants.ENDPOINT} did not answer; without a network, copy HF_HOME from where there is one"


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


def _read_names(names: Sequence[str], role: Role, where: str = "") -> list[str]:
    """Of the files in a model's folder, by their names relative to it, those that a role reads.

    Raises `ModelError` for a remote folder, called `where`, of which a part has only variants: before the
    rest is fetched.
    """
    read = [name for name in names if _is_read(name, role)]
    if where:
        _check_variants(names, read, where)
    if role == "text_to_image" and not any(n.startswith(f"{family_xl.PARTS[0]}/") for n in names):
        # Of the smaller models nothing in it counts.
        read = [name for name in read if name != family_xl.INDEX]
    if role == "clip" and any(_is_open_clips(name) for name in read):
        # Beside open_clip's own weights a cache may hold other formats of the same ones.
        read = [n for n in read if not n.endswith(".safetensors") or _is_open_clips(n)]
    return read


def _check_variants(names: Sequence[str], read: Sequence[str], where: str) -> None:
    kept = {name.rpartition("/")[0] for name in read if name.endswith(".safetensors")}
    parts = {name.rpartition("/")[0] for name in read} - kept
    for name in sorted(names):
        part, _, file = name.rpartition("/")
        if part in parts and is_variant(name):
            raise ModelError(
                f"{where}: weights must be .safetensors files, got only {name}, a variant that is not "
                f"read; copy the folder, rename it to {plain_name(file)}, and name the copy"
            )


def is_variant(name: str) -> bool:
    """Whether a file holds weights in another form than a part's own: half precision, not averaged."""
    return name.endswith(".safetensors") and any(fnmatch(name, pattern) for pattern in _NOT_READ)


def plain_name(name: str) -> str:
    """A file's name without its variant: `model.safetensors` of `model.fp16.safetensors`."""
    return re.sub(rf"\.({'|'.join(_VARIANTS)})(?=[.-])", "", name)


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
