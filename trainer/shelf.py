"""A dataset's Parquet files as local files: those of a store are fetched once."""

import hashlib
import os
import tempfile
import threading
from pathlib import Path

from factory.errors import InputError
from factory.ledger import keys
from factory.ledger.run import open_run
from factory.ledger.sealed import sealed_pairs_uris
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore


class Shelf:
    """Keys of a store, and a folder in which each lies after it was first asked for."""

    def __init__(self, store: ObjectStore, names: list[str], cache: Path | None = None) -> None:
        """`cache` is where files of a remote store are kept; null is a folder of the system's."""
        self.store = store
        self.names = names
        self._cache = cache or Path(tempfile.gettempdir()) / "editmill-datasets"
        self._lock = threading.Lock()

    def path(self, number: int) -> Path:
        """Where the file with this number lies now."""
        key = self.names[number]
        if isinstance(self.store, LocalStore):
            return Path(self.store.folder) / key
        place = hashlib.sha256(self.store.uri.encode()).hexdigest()[:16]
        path = self._cache / place / key.replace("/", "_")
        with self._lock:
            if not path.exists():
                data = patiently(lambda: self.store.get(key))
                path.parent.mkdir(parents=True, exist_ok=True)
                # Workers of one machine may fetch the same file at one moment.
                beside = path.with_name(f"{path.name}.{os.getpid()}")
                beside.write_bytes(data)
                os.replace(beside, path)
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
