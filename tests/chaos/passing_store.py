"""A store that passes every call on: what the tools here that watch or spoil calls begin with."""

from collections.abc import Iterator

from factory.storage.protocol import ObjectInfo, ObjectStore, Upload


class PassingStore:
    """As the store within; overrides say what is done beside."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.uri = inner.uri

    def put(self, key: str, data: bytes) -> None:
        self.inner.put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        return self.inner.put_new(key, data)

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def get_part(self, key: str, first: int, count: int) -> bytes:
        return self.inner.get_part(key, first, count)

    def find(self, key: str) -> ObjectInfo | None:
        return self.inner.find(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def uploads(self) -> Iterator[Upload]:
        return self.inner.uploads()

    def abort(self, upload: Upload) -> None:
        self.inner.abort(upload)

    def now(self) -> float:
        return self.inner.now()
