"""A dataset's Parquet files as local files: those of a store are fetched once."""

import hashlib
import os
import tempfile
import threading
from pathlib import Path

from factory.errors import InputError, ObjectMissing
from factory.ledger import keys
from factory.ledger.run import open_run
from factory.ledger.sealed import sealed_pairs_uris
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from factory.users_cache import make_private, users_cache


class Shelf:
    """Keys of a store, and a folder in which each lies after it was first asked for."""

    def __init__(self, store: ObjectStore, names: list[str], cache: Path | None = None) -> None:
        """`cache` is where files of a remote store are kept; null is a folder of the user's."""
        self.store = store
        self.names = names
        self._cache = cache
        self._found: dict[int, Path] = {}
        self._lock = threading.Lock()

    def path(self, number: int) -> Path:
        """Where the file with this number lies now. Raises `InputError` where none can be kept."""
        key = self.names[number]
        if isinstance(self.store, LocalStore):
            return Path(self.store.folder) / key
        with self._lock:
            if number not in self._found:
                self._found[number] = self._fetched(key)
            return self._found[number]

    def _fetched(self, key: str) -> Path:
        """A file named by all that tells this object from others, and from what it was before."""
        info = patiently(lambda: self.store.find(key))
        if info is None:
            raise ObjectMissing(f"{self.store.uri}/{key}: no such object")
        version = (self.store.uri, key, str(info.bytes), str(info.modified))
        cache = self._cache or users_cache("datasets")
        path = cache / hashlib.sha256("\n".join(version).encode()).hexdigest()
        try:
            make_private(cache)
            if not path.exists():
                data = patiently(lambda: self.store.get(key))
                # Workers of one machine may fetch the same file at one moment.
                handle, beside = tempfile.mkstemp(prefix=path.name[:16], dir=cache)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
                os.replace(beside, path)
        except OSError as error:
            raise InputError(
                f"{cache}: must be a folder to keep datasets in (XDG_CACHE_HOME), got "
                f"{error.strerror}"
            ) from None
        return path


def find_files(uri: str, cache: Path | None = None) -> Shelf:
    """The files of a dataset: a sealed run's pairs, every `.parquet` below a folder, or one file.

    Raises `InputError` where there is none, and for a run that was never sealed.
    """
    if uri.endswith(".parquet"):
        parent, _, name = uri.rpartition("/")
        return Shelf(open_store(parent or "."), [name], cache)
    store = open_store(uri)
    if store.find(keys.RUN) is not None:
        names = [name.removeprefix(f"{store.uri}/") for name in sealed_pairs_uris(open_run(store))]
        if not names:
            raise InputError(f"{uri}: holds no sealed pairs; `editmill seal --partial` seals some")
        return Shelf(store, names, cache)
    names = [info.key for info in store.list() if info.key.endswith(".parquet")]
    if not names:
        raise InputError(f"{uri}: must be a sealed run or hold .parquet files, got none")
    return Shelf(store, names, cache)
