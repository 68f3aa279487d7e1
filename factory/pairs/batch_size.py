"""How many pairs a run's batches hold, where that is to be found: measured once, by its first worker."""

from collections.abc import Mapping
from typing import Protocol

from factory.ledger import keys
from factory.ledger.run import Run, must_stand
from factory.storage.patience import write_once
from factory.storage.stamped import find_stamped
from schemas.ledger.run import BatchRecord
from schemas.ledger.stamped import from_stamped_json, to_stamped_json
from schemas.running.environment import Environment

GAIN = 1.02
"""Twice the pairs must be so much faster to be worth their memory and their longer wait."""


class Rated(Protocol):
    """Whose speed can be measured."""

    def rates(self) -> Mapping[int, float]:
        """Rows a second by pairs in a batch."""

    def environment(self) -> Environment:
        """Where it runs."""


def fastest(rates: Mapping[int, float]) -> int:
    """The smallest number of pairs that is nearly as fast as any."""
    best = max(rates.values())
    return min(pairs for pairs, rate in rates.items() if rate * GAIN >= best)


def batch_of_run(run: Run, source: Rated) -> int:
    """What the run's first worker found; measured, where this is it.

    Raises `Damaged`, and `StorageRefused` where the run is gone.
    """
    record = find_stamped(run.store, keys.BATCH, BatchRecord, "the size of a run's batches")
    if record is None:
        rates = source.rates()
        own = BatchRecord(
            batch_pairs=fastest(rates),
            rows_per_s={str(pairs): round(rate, 3) for pairs, rate in rates.items()},
            device=source.environment().device,
        )
        must_stand(run.store)
        stands = write_once(run.store, keys.BATCH, to_stamped_json(own))
        record = from_stamped_json(BatchRecord, stands)
    return record.batch_pairs
