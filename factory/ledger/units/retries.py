"""Failed units that were opened again: `retries/<n>.json`, each written once.

A commit is never overwritten, so a unit that is opened again gets a new *generation*, which is part
of its commit's key; what counts is the commit of its newest generation.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from factory.ledger import keys
from factory.storage.numbered import numbers
from factory.storage.patience import write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.ledger.run import RetryRecord
from schemas.ledger.stamped import to_stamped_json


@dataclass(frozen=True)
class Retries:
    """What was opened again."""

    generations: Mapping[int, int] = field(default_factory=dict)
    """How often a unit was, where it was."""
    anew: Mapping[int, int] = field(default_factory=dict)
    """The generation at which a unit was last begun anew, because what was there was damaged."""
    aside: frozenset[str] = frozenset()
    """Damaged commits that nothing looks at any more."""


def read_retries(store: ObjectStore) -> Retries:
    """Every unit that was opened again. Raises `Damaged`."""
    found: Counter[int] = Counter()
    anew: dict[int, int] = {}
    aside: set[str] = set()
    for number in numbers(store, keys.RETRIES, keys.retry):
        record = read_stamped(store, keys.retry(number), RetryRecord, "a retry")
        found.update(record.units)
        if record.repaired:
            anew |= {unit: found[unit] for unit in record.units}
            aside |= set(record.aside)
    return Retries(dict(found), anew, frozenset(aside))


def next_retry(store: ObjectStore) -> int:
    """The number of the next record."""
    return max(numbers(store, keys.RETRIES, keys.retry), default=-1) + 1


def open_again(store: ObjectStore, sequence: int, record: RetryRecord) -> bool:
    """Raise the generation of these units by one; False where another driver was there first.

    Then the generations read before no longer hold, and the caller looks again.
    """
    data = to_stamped_json(record)
    return write_once(store, keys.retry(sequence), data) == data
