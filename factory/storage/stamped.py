"""Small JSON records in a store, read again where one does not bear its own stamp."""

from typing import TypeVar

from factory.errors import Damaged, ObjectMissing, first_line
from factory.storage.patience import read_whole
from factory.storage.protocol import ObjectStore
from schemas.ledger.stamped import from_stamped_json
from schemas.record import Record

R = TypeVar("R", bound=Record)


def read_stamped(store: ObjectStore, key: str, kind: type[R], noun: str) -> R:
    """The record under a key. Raises `ObjectMissing`, or `Damaged`: not what `noun` says it is."""

    def take(data: bytes) -> R:
        try:
            return from_stamped_json(kind, data)
        except ValueError as error:
            raise Damaged(f"{store.uri}/{key}: not {noun}: {first_line(error)}") from None

    return read_whole(store, key, take)


def find_stamped(store: ObjectStore, key: str, kind: type[R], noun: str) -> R | None:
    """As `read_stamped`; None where there is none."""
    try:
        return read_stamped(store, key, kind, noun)
    except ObjectMissing:
        return None
