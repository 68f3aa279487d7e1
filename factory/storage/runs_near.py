"""Runs in a folder or prefix that is none itself, or around it, for who named one a step off."""

from itertools import islice
from pathlib import PurePosixPath

from factory.errors import EditmillError
from factory.storage.key_rules import RUN
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore

DEPTH = 3
"""Folders further in, and further out."""
MOST_KEYS = 10_000
"""Of a bucket that are looked at: ten pages of a listing."""
MOST_FOLDERS = 1_000


def runs_near(uri: str) -> list[str]:
    """The runs inside, else the run around, as somebody would write them; none is no error."""
    uri = uri.rstrip("/")
    try:
        store = open_store(uri)
        if store.find(RUN) is not None:
            return []
        inside = _inside_folder(store) if isinstance(store, LocalStore) else _inside(store)
        return [f"{uri}/{name}" for name in inside] or _around(uri)
    except (EditmillError, OSError):
        return []


def _inside_folder(store: LocalStore) -> list[str]:
    found, looked = [], 0
    todo = [(store.folder, 0)]
    while todo and looked < MOST_FOLDERS:
        folder, depth = todo.pop(0)
        looked += 1
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith(".") or not path.is_dir():
                continue
            if (path / RUN).is_file():
                found.append(path.relative_to(store.folder).as_posix())
            elif depth + 1 < DEPTH:
                todo.append((path, depth + 1))
    return found


def _inside(store: ObjectStore) -> list[str]:
    ending = f"/{RUN}"
    return [
        info.key.removesuffix(ending)
        for info in islice(store.list(), MOST_KEYS)
        if info.key.endswith(ending)
    ]


def _around(uri: str) -> list[str]:
    scheme, colon, path = uri.rpartition("://")
    place = PurePosixPath(path)
    for parent in list(place.parents)[:DEPTH]:
        outer = f"{scheme}{colon}{parent}"
        if parent.name and open_store(outer).find(RUN) is not None:
            return [outer]
    return []
