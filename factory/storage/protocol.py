"""What the ledger asks of a store: five verbs on whole objects; what readers and `gc` ask besides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it."""

    key: str
    """Key below the store's root."""
    bytes: int
    """Size."""
    modified: float = field(default=0.0, compare=False)
    """When it was stored, by the store's clock; seconds since 1970, UTC."""


@dataclass(frozen=True)
class Upload:
    """An upload that was begun and never finished; no listing shows it, and it takes room."""

    key: str
    """What it was to become; what it is called, where that is not known."""
    name: str
    """The store's own name for it."""
    begun: float
    """When, by the store's clock; seconds since 1970, UTC."""


class ObjectStore(Protocol):
    """Whole objects under keys like `commits/000000/0000042.parquet`.

    Keys are relative, made of letters, digits and `._-`, parts separated by `/`. Every method may
    raise `StorageRefused` (do not try again) or `StorageUnavailable` (no clear answer).
    """

    uri: str

    def put(self, key: str, data: bytes) -> None:
        """Store an object whose key is derived from its content; storing it again is harmless.

        The store's reply is checked by checksum. Readers never see part of an object.
        """

    def put_new(self, key: str, data: bytes) -> bool:
        """Store an object only where none is: True when this call stored it, False when one was there.

        Raises `StorageUnavailable` where the reply was lost or ambiguous: then the caller reads
        the object back to learn whose it is.
        """

    def get(self, key: str) -> bytes:
        """The whole object. Raises `ObjectMissing`."""

    def get_part(self, key: str, first: int, count: int) -> bytes:
        """`count` bytes (1 or more) from byte `first` on; fewer where the object ends before.

        For readers of large objects; the ledger reads whole ones only. Raises `ObjectMissing`.
        """

    def find(self, key: str) -> ObjectInfo | None:
        """The object's size, or None where there is none."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, in key order, each once.

        All of them, or `StorageRefused` where a server shows a part and no way to the rest.
        """

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none.

        Only `gc` calls this and the two below: workers need no keys that may delete.
        """

    def uploads(self) -> Iterator[Upload]:
        """Uploads that were begun and not finished."""

    def abort(self, upload: Upload) -> None:
        """Remove what such an upload left."""

    def now(self) -> float:
        """The store's clock, by which it says when objects were stored; seconds since 1970, UTC."""

    def around(self, name: str) -> "ObjectStore":
        """The store around this one, whose root has this name there; it takes users' keys."""


@runtime_checkable
class PagedStore(Protocol):
    """What a store offers besides whose listings come in pages, from a server."""

    def list_by(self, prefix: str, most: int) -> Iterator[ObjectInfo]:
        """As `list`, in pages of so many keys: shows whether the server goes on from page to page."""

    def names(self) -> Iterator[str]:
        """All names below the root, those included that are no keys and that `list` passes over."""


@runtime_checkable
class HoldingStore(Protocol):
    """A store that gets an object as a request first and its bytes after it."""

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        """As `put_new`; `meanwhile` runs once, when the server has the request and not yet the bytes.

        As far as a client can know: of one that answers late, or not at all, it may not have the request.
        """
