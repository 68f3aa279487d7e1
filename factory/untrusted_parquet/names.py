"""The Parquet files below a folder or prefix, whoever wrote them and whatever they are called."""

import os
from collections.abc import Iterator
from pathlib import Path

from factory.errors import InputError
from factory.storage.key_rules import RUN
from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectStore, PagedStore

SUFFIX = ".parquet"
PASSED_OVER = (".", "_")
"""How names begin of what is no data: Spark's `_temporary/`, `_delta_log/`, `.ipynb_checkpoints/`."""


def parquet_names(store: ObjectStore) -> list[str]:
    """In order; strangers' names may hold blanks and signs that no key of ours has.

    Raises `InputError` where a folder cannot be listed.
    """
    names = _names(store)
    # A root of ours within, such as a dataset's latents, has files of its own kind.
    roots = tuple(name.removesuffix(RUN) for name in names if name.endswith(f"/{RUN}"))
    return sorted(
        name
        for name in names
        if name.endswith(SUFFIX) and not _is_hidden(name) and not name.startswith(roots)
    )


def other_names(store: ObjectStore) -> list[str]:
    """The other files, but for those that are no data, in order. Raises as `parquet_names`."""
    return sorted(n for n in _names(store) if not n.endswith(SUFFIX) and not _is_hidden(n))


def _names(store: ObjectStore) -> list[str]:
    if isinstance(store, LocalStore):
        return list(_files_below(store.folder))
    if isinstance(store, PagedStore):
        return list(store.names())
    return [info.key for info in store.list()]


def _files_below(folder: Path) -> Iterator[str]:
    """Names of all files. Raises `InputError` where a folder is not shown."""

    def refuse(error: OSError) -> None:
        # Passed over, its files would silently be missing from the dataset.
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"{error.filename}: cannot be listed: {error.strerror}") from None

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in names:
            path = Path(parent, name)
            if path.is_file():
                yield path.relative_to(folder).as_posix()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(PASSED_OVER) for part in name.split("/"))
