"""Failed units that were opened again: `retries/<n>.json`, each written once.

A commit is never overwritten, so a unit that is opened again gets a new *generation*, which is part
of its commit's key; what counts is the commit of its newest generation.
"""

from collections import Counter
from collections.abc import Sequence

from factory.errors import Damaged, first_line
from factory.ledger import keys
from factory.storage.patience import write_once
from factory.storage.protocol import ObjectStore
from schemas.run import RetryRecord
from schemas.stamped import from_stamped_json, to_stamped_json


def generations(store: ObjectStore) -> dict[int, int]:
    """Every unit that was opened again, and how often. Raises `Damaged`."""
    found: Counter[int] = Counter()
    for info in store.list(keys.RETRIES):
        found.update(_read(store, info.key).units)
    return dict(found)


def retries(store: ObjectStore) -> int:
    """How often units were opened again: the number of the next record."""
    return sum(1 for _ in store.list(keys.RETRIES))


def open_again(store: ObjectStore, sequence: int, units: Sequence[int]) -> bool:
    """Raise the generation of these units by one; False where another driver was there first.

    Then the generations read before no longer hold, and the caller looks again.
    """
    data = to_stamped_json(RetryRecord(units=tuple(units)))
    return write_once(store, keys.retry(sequence), data) == data


def _read(store: ObjectStore, key: str) -> RetryRecord:
    try:
        return from_stamped_json(RetryRecord, store.get(key))
    except ValueError as error:
        raise Damaged(f"{store.uri}/{key}: not a retry: {first_line(error)}") from None
