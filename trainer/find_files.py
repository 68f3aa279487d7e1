"""Which files a dataset is: a sealed run's pairs, the Parquet files of a folder, or one file."""

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from factory.errors import InputError
from factory.ledger import keys
from factory.ledger.run import open_run
from factory.ledger.sealed import sealed_pairs_uris
from factory.storage.key_rules import is_key
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore, PagedStore
from trainer.shelf import Shelf

SUFFIX = ".parquet"
SPLIT = re.compile(r"(?:^|/)(train|validation|valid|val|dev|test|eval)(?=[-_./])")
"""As hub datasets name files and folders."""


def find_files(uri: str, cache: Path | None = None, pattern: str | None = None) -> Shelf:
    """The files of a dataset: a sealed run's pairs, every `.parquet` below a folder, or one file.

    Of a folder, `pattern` chooses files by their names below it (`train-*`). Raises `InputError` where
    there are none, for a run that was never sealed, and for a folder of several splits without a pattern.
    """
    if uri.endswith(SUFFIX):
        parent, _, name = uri.rpartition("/")
        return Shelf(open_store(parent or "."), [name], cache)
    store = open_store(uri)
    if store.find(keys.RUN) is not None:
        names = [name.removeprefix(f"{store.uri}/") for name in sealed_pairs_uris(open_run(store))]
        if not names:
            raise InputError(f"{uri}: holds no sealed pairs; `editmill seal --partial` seals some")
        return Shelf(store, names, cache, named_by_content=True)
    names = _parquet_names(store)
    if not names:
        raise InputError(f"{uri}: must be a sealed run or hold .parquet files, got none")
    if pattern is not None:
        chosen = [name for name in names if fnmatch(name, pattern)]
        if not chosen:
            raise InputError(f"reading.files: must match files of {uri}, got {pattern!r}")
        return Shelf(store, chosen, cache)
    splits = {found[1] for name in names if (found := SPLIT.search(name))}
    if len(splits) > 1:
        raise InputError(
            f"{uri}: holds the splits {', '.join(sorted(splits))}; reading.files chooses one, such as "
            "'train*'"
        )
    return Shelf(store, names, cache)


def _files_below(folder: Path) -> Iterator[str]:
    """Names of Parquet files, hidden ones left out. Raises `InputError` where a folder is not shown."""

    def refuse(error: OSError) -> None:
        # Passed over, its files would silently be missing from the dataset.
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"{error.filename}: cannot be listed: {error.strerror}") from None

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.endswith(SUFFIX) and not name.startswith(".") and path.is_file():
                yield path.relative_to(folder).as_posix()


def shelf_of(uri: str, names: Sequence[str]) -> Shelf:
    """Files of a dataset whose names are known."""
    store = open_store(uri.rpartition("/")[0] or "." if uri.endswith(SUFFIX) else uri)
    return Shelf(store, names, named_by_content=store.find(keys.RUN) is not None)


def _parquet_names(store: ObjectStore) -> list[str]:
    """Strangers' names may hold blanks and signs that no key of ours has."""
    if isinstance(store, LocalStore):
        return sorted(_files_below(store.folder))
    if not isinstance(store, PagedStore):
        return [info.key for info in store.list() if info.key.endswith(SUFFIX)]
    names = [name for name in store.names() if name.endswith(SUFFIX)]
    stranger = next((name for name in names if not is_key(name)), None)
    if stranger is not None:
        raise InputError(
            f"{store.uri}/{stranger}: the name must be letters, digits and ._- in parts separated by / "
            "to be read from a store; rename it, or copy the dataset to a folder"
        )
    return names
