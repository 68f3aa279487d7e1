"""An object store in memory, for tests that try thousands of histories."""

import itertools
import threading
from collections.abc import Iterator

from factory.errors import ObjectMissing
from factory.storage.key_rules import check_key, check_prefix
from factory.storage.protocol import ObjectInfo, Upload

_numbers = itertools.count()


class MemoryStore:
    """Keeps the promises of `ObjectStore` between the threads of one process."""

    def __init__(self) -> None:
        # Each its own: what is remembered by a store's URI must not meet another's.
        self.uri = f"memory-{next(_numbers)}"
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, float] = {}
        self.clock = 1e9
        """Moves only when a test moves it."""
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        with self._lock:
            self.objects[key], self.modified[key] = bytes(data), self.clock

    def put_new(self, key: str, data: bytes) -> bool:
        check_key(key)
        with self._lock:
            if key in self.objects:
                return False
            self.objects[key], self.modified[key] = bytes(data), self.clock
            return True

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(f"{self.uri}/{key}: no such object") from None

    def get_part(self, key: str, first: int, count: int) -> bytes:
        return self.get(key)[first : first + count]

    def find(self, key: str) -> ObjectInfo | None:
        check_key(key)
        with self._lock:
            return self._info(key) if key in self.objects else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            found = [self._info(key) for key in sorted(self.objects) if key.startswith(prefix)]
        return iter(found)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            self.objects.pop(key, None)

    def uploads(self) -> Iterator[Upload]:
        return iter(())

    def abort(self, upload: Upload) -> None:
        raise AssertionError("there are none")

    def now(self) -> float:
        return self.clock

    def _info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.objects[key]), self.modified[key])
