"""An object store in memory, for tests that try thousands of histories."""

import copy
import itertools
import threading
from collections.abc import Iterator

from factory.errors import ObjectMissing
from factory.ledger.keys import AROUND
from factory.storage.key_rules import OWN, USERS, KeyRules
from factory.storage.protocol import ObjectInfo, Upload

_numbers = itertools.count()


class MemoryStore:
    """Keeps the promises of `ObjectStore` between the threads of one process.

    What lies around its root it holds, too, under keys that begin with `../`.
    """

    _keys: KeyRules = OWN
    _root = ""

    def __init__(self) -> None:
        # Each its own: what is remembered by a store's URI must not meet another's.
        self.uri = f"memory-{next(_numbers)}"
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, float] = {}
        self._clock = [1e9]
        self._lock = threading.Lock()

    @property
    def clock(self) -> float:
        """Moves only when a test moves it."""
        return self._clock[0]

    @clock.setter
    def clock(self, now: float) -> None:
        self._clock[0] = now

    def put(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._lock:
            self.objects[name], self.modified[name] = bytes(data), self.clock

    def put_new(self, key: str, data: bytes) -> bool:
        name = self._name(key)
        with self._lock:
            if name in self.objects:
                return False
            self.objects[name], self.modified[name] = bytes(data), self.clock
            return True

    def get(self, key: str) -> bytes:
        try:
            return self.objects[self._name(key)]
        except KeyError:
            raise ObjectMissing(f"{self.uri}/{key}: no such object") from None

    def get_part(self, key: str, first: int, count: int) -> bytes:
        return self.get(key)[first : first + count]

    def find(self, key: str) -> ObjectInfo | None:
        name = self._name(key)
        with self._lock:
            return self._info(name) if name in self.objects else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._keys.check_prefix(prefix)
        with self._lock:
            names = [name for name in sorted(self.objects) if name.startswith(self._root + prefix)]
            found = [self._info(n) for n in names if n.startswith(AROUND) == bool(self._root)]
        return iter(found)

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._lock:
            self.objects.pop(name, None)

    def uploads(self) -> Iterator[Upload]:
        return iter(())

    def abort(self, upload: Upload) -> None:
        raise AssertionError("there are none")

    def now(self) -> float:
        return self.clock

    def around(self, name: str) -> "MemoryStore":
        store = copy.copy(self)
        store._keys, store._root = USERS, AROUND
        return store

    def _name(self, key: str) -> str:
        self._keys.check_key(key)
        return self._root + key

    def _info(self, name: str) -> ObjectInfo:
        key = name.removeprefix(self._root)
        return ObjectInfo(key, len(self.objects[name]), self.modified[name])
