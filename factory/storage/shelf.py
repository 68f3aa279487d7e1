"""Objects as local files: those of a remote store are fetched once, or read where they lie."""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from factory.errors import Damaged, InputError, ObjectMissing
from factory.storage.local import LocalStore
from factory.storage.patience import patiently, read_whole
from factory.storage.protocol import ObjectStore
from factory.storage.remote_file import RemoteFile
from factory.storage.users_cache import make_private, users_cache

HASH = re.compile(r"-([0-9a-f]{16})\.[a-z]+$")
"""In the name of an object that is named by its content."""


class Shelf:
    """Keys of a store, and a folder in which each lies after it was first asked for."""

    def __init__(
        self,
        store: ObjectStore,
        names: Sequence[str],
        named_by_content: bool = False,
    ) -> None:
        """Files of a remote store are kept in the user's cache.

        Objects that are named by their content never change: the store is not asked whether they have.
        """
        self.store = store
        self.names = names
        self.named_by_content = named_by_content
        self._found: dict[int, Path] = {}

    def path(self, number: int) -> Path:
        """Where the file with this number lies now; threads may ask at once.

        Raises `ObjectMissing`, and `InputError` where none can be kept.
        """
        key = self.names[number]
        if isinstance(self.store, LocalStore):
            return Path(self.store.folder) / key
        if number not in self._found:
            self._found[number] = self._fetched(key)
        return self._found[number]

    def place(self, number: int) -> Path | RemoteFile:
        """What to read a little of a file from, or all of it once, without keeping it on this machine.

        Raises `ObjectMissing`.
        """
        if isinstance(self.store, LocalStore):
            return self.path(number)
        return RemoteFile(self.store, self.names[number])

    def _fetched(self, key: str) -> Path:
        """A file named by all that tells this object from others, and from what it was before."""
        version: tuple[str, ...] = ()
        size = None
        if not self.named_by_content:
            info = patiently(lambda: self.store.find(key))
            if info is None:
                raise ObjectMissing(f"{self.store.uri}/{key}: no such object")
            size, version = info.bytes, (str(info.bytes), str(info.modified))
        cache = users_cache("datasets")
        name = "\n".join((self.store.uri, key, *version))
        path = cache / hashlib.sha256(name.encode()).hexdigest()
        try:
            make_private(cache)
            if not path.exists():
                data = read_whole(self.store, key, partial(self._whole, key, size))
                # Threads and processes of one machine may fetch the same file at one moment.
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

    def _whole(self, key: str, size: int | None, data: bytes) -> bytes:
        """What was fetched, and stays: of the size that was told, or of the hash in its name."""
        named = HASH.search(key) if self.named_by_content else None
        if size is not None and len(data) != size:
            raise Damaged(f"{self.store.uri}/{key}: must be {size} bytes, got {len(data)}")
        if named and not hashlib.sha256(data).hexdigest().startswith(named[1]):
            raise Damaged(f"{self.store.uri}/{key}: not the bytes that it is named by")
        return data
