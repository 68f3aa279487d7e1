"""What lies around a run whose store is watched or spoilt: so is that, too."""

from collections.abc import Iterator
from dataclasses import replace

from factory.ledger.keys import AROUND
from factory.storage.protocol import ObjectInfo, ObjectStore


class Around:
    """The part of a store whose keys begin with `../`, as the ledger names them."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.uri = f"{store.uri}/.."

    def put(self, key: str, data: bytes) -> None:
        self.store.put(AROUND + key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        return self.store.put_new(AROUND + key, data)

    def get(self, key: str) -> bytes:
        return self.store.get(AROUND + key)

    def get_part(self, key: str, first: int, count: int) -> bytes:
        return self.store.get_part(AROUND + key, first, count)

    def find(self, key: str) -> ObjectInfo | None:
        found = self.store.find(AROUND + key)
        return found and replace(found, key=key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for info in self.store.list(AROUND + prefix):
            yield replace(info, key=info.key.removeprefix(AROUND))

    def delete(self, key: str) -> None:
        self.store.delete(AROUND + key)

    def now(self) -> float:
        return self.store.now()
