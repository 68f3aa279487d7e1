"""A store that passes every call on: what the tools here that watch or spoil calls begin with."""

from collections.abc import Iterator
from dataclasses import replace

from factory.ledger.keys import AROUND, BESIDE
from factory.storage.protocol import ObjectInfo, ObjectStore, Upload
from tests.chaos.stores.around import Around


class PassingStore:
    """As the store within, and as what lies around that; overrides say what is done beside."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.uri = inner.uri

    def put(self, key: str, data: bytes) -> None:
        store, key = self._located(key)
        store.put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        store, key = self._located(key)
        return store.put_new(key, data)

    def get(self, key: str) -> bytes:
        store, key = self._located(key)
        return store.get(key)

    def get_part(self, key: str, first: int, count: int) -> bytes:
        store, key = self._located(key)
        return store.get_part(key, first, count)

    def find(self, key: str) -> ObjectInfo | None:
        store, within = self._located(key)
        found = store.find(within)
        return found and replace(found, key=key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        store, within = self._located(prefix)
        beyond = prefix.removesuffix(within)
        return (replace(info, key=beyond + info.key) for info in store.list(within))

    def delete(self, key: str) -> None:
        store, key = self._located(key)
        store.delete(key)

    def uploads(self) -> Iterator[Upload]:
        return self.inner.uploads()

    def abort(self, upload: Upload) -> None:
        self.inner.abort(upload)

    def now(self) -> float:
        return self.inner.now()

    def around(self, name: str) -> Around:
        return Around(self)

    def _located(self, key: str) -> tuple[ObjectStore, str]:
        """Where a key lies in truth."""
        if key.startswith(AROUND):
            return self.inner.around(BESIDE), key.removeprefix(AROUND)
        return self.inner, key
