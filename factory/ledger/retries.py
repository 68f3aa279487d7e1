"""Failed units that were opened again: `retries/<n>.json`, each written once.

A commit is never overwritten, so a unit that is opened again gets a new *generation*, which is part
of its commit's key; what counts is the commit of its newest generation.
"""

from collections import Counter
from collections.abc import Sequence

from factory.ledger import keys
from factory.ledger.numbered import numbers
from factory.storage.patience import write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.run import RetryRecord
from schemas.stamped import to_stamped_json


def generations(store: ObjectStore) -> dict[int, int]:
    """Every unit that was opened again, and how often. Raises `Damaged`."""
    found: Counter[int] = Counter()
    for number in numbers(store, keys.RETRIES, keys.retry):
        found.update(read_stamped(store, keys.retry(number), RetryRecord, "a retry").units)
    return dict(found)


def retries(store: ObjectStore) -> int:
    """The number of the next record."""
    return max(numbers(store, keys.RETRIES, keys.retry), default=-1) + 1


def open_again(store: ObjectStore, sequence: int, units: Sequence[int]) -> bool:
    """Raise the generation of these units by one; False where another driver was there first.

    Then the generations read before no longer hold, and the caller looks again.
    """
    data = to_stamped_json(RetryRecord(units=tuple(units)))
    return write_once(store, keys.retry(sequence), data) == data
