"""An object of a store as a file, of which only what is read is fetched."""

import io
from collections.abc import Iterable

from factory.errors import ObjectMissing, StorageUnavailable
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore

TAIL = 2**16
"""Bytes at its end that are fetched at once and kept: a Parquet file's footer, or all of a small file."""
GAP = 2**16
"""Bytes between two places that are fetched too, rather than by another request."""


class RemoteFile(io.RawIOBase):
    """For one reader at a time, as pyarrow's."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        """Raises `ObjectMissing`."""
        info = patiently(lambda: store.find(key))
        if info is None:
            raise ObjectMissing(f"{store.uri}/{key}: no such object")
        self._store, self._key, self._size = store, key, info.bytes
        self._tail_from = max(0, info.bytes - TAIL)
        self._tail = self._part(self._tail_from, TAIL) if info.bytes else b""
        self._at = 0
        self._held: list[tuple[int, bytes]] = []

    def hold(self, places: Iterable[tuple[int, int]]) -> None:
        """Fetch and keep what is read next, by its first bytes and lengths; what was held before goes."""
        self._held.clear()
        ends: list[list[int]] = []
        for first, count in sorted(places):
            first, end = max(0, first), min(first + count, self._tail_from)
            if ends and first <= ends[-1][1] + GAP:
                ends[-1][1] = max(ends[-1][1], end)
            elif first < end:
                ends.append([first, end])
        self._held = [(first, self._part(first, end - first)) for first, end in ends]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """All that is left without a size. May raise `StorageError`."""
        left = max(0, self._size - self._at)
        count = left if size is None or size < 0 else min(size, left)
        if not count:
            return b""
        data = self._kept(self._at, count)
        if data is None:
            data = self._part(self._at, count)
        self._at += len(data)
        return data

    def _kept(self, first: int, count: int) -> bytes | None:
        for start, data in (self._tail_from, self._tail), *self._held:
            if start <= first and first + count <= start + len(data):
                return data[first - start : first - start + count]
        return None

    def _part(self, first: int, count: int) -> bytes:
        expected = min(count, self._size - first)

        def read() -> bytes:
            data = self._store.get_part(self._key, first, count)
            if len(data) != expected:
                # Cut on its way, unless the object is another one by now.
                raise StorageUnavailable(
                    f"{self._store.uri}/{self._key}: must hold {expected} bytes from byte {first} on, "
                    f"got {len(data)}"
                )
            return data

        return patiently(read)
