"""Models in buckets: fetched once into the user's cache, and used only when they are whole."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from factory.console.log import tell
from factory.console.progress import LINE_EVERY_S, duration
from factory.errors import Damaged, ModelError
from factory.storage.key_rules import is_key
from factory.storage.open import open_store
from factory.storage.patience import PART, patiently, read_whole
from factory.storage.protocol import ObjectInfo, ObjectStore
from factory.storage.users_cache import make_private, users_cache

MOST_OBJECTS = 1000
"""Below a model's prefix: one page of a listing; a repository of one model has a hundred or less."""
MOST_BYTES = 64 * 2**30
"""Of a model; Stable Diffusion XL in float32 has 14 GB."""
HASHES = ".sha256.json"
"""Beside a fetched model; no key begins with a dot."""
CHANGED = (
    "{}: must stay as it is while it is fetched, got other objects than were listed; start again"
)

Choose = Callable[[Sequence[str]], list[str]]
"""Of the names of a folder's files those that are read."""


@dataclass(frozen=True)
class _Listed:
    """A model as its bucket showed it at one moment."""

    uri: str
    """Without a slash at its end."""
    store: ObjectStore
    """The prefix; of a single object the one that it lies in."""
    objects: Sequence[ObjectInfo]
    """What is read, and nothing else."""
    single: bool

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def version(self) -> str:
        """sha256 of all that tells it from other models, and from what it was before."""
        facts = [f"{info.key} {info.bytes} {info.modified}" for info in self.objects]
        return hashlib.sha256("\n".join([self.uri, *facts]).encode()).hexdigest()

    def files(self, place: Path) -> list[Path]:
        """Where the objects lie below a place in the cache, in their order."""
        root = place if self.single else place / self.name
        return [root / info.key for info in self.objects]

    def is_whole(self, place: Path) -> bool:
        """Whether nothing is missing there, as after a cleaner of old files."""
        return (place / HASHES).is_file() and all(
            file.is_file() and file.stat().st_size == info.bytes
            for file, info in zip(self.files(place), self.objects, strict=True)
        )


def fetched(uri: str, choose: Choose) -> tuple[Path, dict[str, str]]:
    """The local copy of `s3://bucket/prefix`, or of one `.safetensors` object, and its files' sha256.

    What changed in the bucket is another model, in a folder of its own. Raises `ModelError`,
    `StorageError`.
    """
    uri = uri.rstrip("/")
    listed = _look(uri, choose)
    cache = users_cache("models")
    place = cache / listed.version
    try:
        make_private(cache)
        if not listed.is_whole(place):
            from huggingface_hub.utils import WeakFileLock

            # Of a machine's workers one fetches, and the others wait.
            with WeakFileLock(cache / f"{listed.version}.lock"):
                if not listed.is_whole(place):
                    _fetch(listed, place, choose)
        hashes: dict[str, str] = json.loads((place / HASHES).read_bytes())
    except OSError as error:
        raise ModelError(
            f"{cache}: must be a folder to keep models in (XDG_CACHE_HOME), got {error.strerror}"
        ) from None
    return place / listed.name, hashes


def _look(uri: str, choose: Choose) -> _Listed:
    """Raises `ModelError` for what is no model, or more than one can be."""
    folder, _, name = uri.rpartition("/")
    if name.endswith(".safetensors"):
        store = open_store(folder)
        found = patiently(lambda: store.find(name))
        if found is None:
            raise ModelError(f"{uri}: no such object")
        return _bounded(_Listed(uri, store, [found], single=True))
    store = open_store(uri)
    infos = {info.key: info for info in islice(store.list(), MOST_OBJECTS + 1)}
    if len(infos) > MOST_OBJECTS:
        raise ModelError(f"{uri}: must hold at most {MOST_OBJECTS} objects, got more")
    for key in infos:
        # A store's listing has no others; they would become paths.
        if not is_key(key):
            raise ModelError(f"{uri}: names must be plain parts separated by /, got {key[:80]!r}")
    read = choose(list(infos))
    if not any(key.endswith(".safetensors") for key in read):
        there = sorted({key.partition("/")[0] for key in infos})
        raise ModelError(
            f"{uri}: must be a model's folder with .safetensors files, or one such file, got "
            f"{', '.join(there[:6]) or 'no objects'}"
        )
    return _bounded(_Listed(uri, store, [infos[key] for key in read], single=False))


def _bounded(listed: _Listed) -> _Listed:
    size = sum(info.bytes for info in listed.objects)
    if size > MOST_BYTES:
        raise ModelError(f"{listed.uri}: must be at most {MOST_BYTES} bytes, got {size}")
    return listed


def _whole(listed: _Listed, info: ObjectInfo, data: bytes) -> bytes:
    if len(data) != info.bytes:
        raise Damaged(CHANGED.format(listed.uri))
    return data


def _fetch(listed: _Listed, place: Path, choose: Choose) -> None:
    """Beside its place, and there once all of it is what was listed."""
    half = place.with_suffix(".half")
    for left in (half, place):
        # A process that was killed left the one, a cleaner of old files the other.
        shutil.rmtree(left, ignore_errors=True)
    try:
        hashes = {}
        for info, file in zip(listed.objects, listed.files(half), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            hashes[info.key] = _fetch_object(listed, info, file)
        (half / HASHES).write_text(json.dumps(hashes))
        if _look(listed.uri, choose).version != listed.version:
            raise ModelError(CHANGED.format(listed.uri))
        half.rename(place)
    except Damaged as error:
        raise ModelError(str(error)) from None
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _fetch_object(listed: _Listed, info: ObjectInfo, file: Path) -> str:
    """Its sha256. Large ones come in parts, of which one is in memory, and say how far they are."""
    what = listed.uri if listed.single else f"{listed.uri}/{info.key}"
    tell_fetch(what, info.bytes)
    if info.bytes <= PART:
        data = read_whole(listed.store, info.key, partial(_whole, listed, info))
        file.write_bytes(data)
        return hashlib.sha256(data).hexdigest()
    taken, first = hashlib.sha256(), 0
    begun = told = time.monotonic()
    with file.open("wb") as out:
        while first < info.bytes:
            count = min(PART, info.bytes - first)
            part = patiently(partial(listed.store.get_part, info.key, first, count))
            if not part:
                raise Damaged(CHANGED.format(listed.uri))
            out.write(part)
            taken.update(part)
            first += len(part)
            now = time.monotonic()
            if now - told >= LINE_EVERY_S and first < info.bytes:
                told = now
                left = duration((now - begun) / first * (info.bytes - first))
                tell(
                    f"fetches {what}: {first / 1e6:,.0f} of {info.bytes / 1e6:,.0f} MB, {left} left"
                )
    return taken.hexdigest()


def tell_fetch(what: str, size: int | None) -> None:
    """A line on stderr, once a file of a model begins to come."""
    much = "" if size is None else f", {size / 1e6:,.1f} MB" if size >= 1e6 else f", {size:,} bytes"
    tell(f"fetches {what}{much}")
