"""Strikes: deaths of worker processes while a unit ran, kept in the store across drivers.

The driver writes one where the process died and its node lived on and was not draining. After
`COMPANY` of them the unit runs alone in a fresh process; when that dies too it is a *poison* unit
and is committed as failed, so that a run ends. A unit that merely ran beside a poison one is made
when it runs alone.
"""

import time

from factory.ledger import keys
from factory.ledger.run import must_stand
from factory.storage.patience import write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.ledger.run import StrikeRecord
from schemas.ledger.stamped import to_stamped_json

COMPANY = 2
"""Strikes after which a unit runs alone."""
LIMIT = 3
"""Strikes, the last of them alone, after which a unit is given up."""
POISON = f"poison: worker died {LIMIT} times"
"""Why its candidates failed."""


def read_strikes(store: ObjectStore) -> dict[int, list[StrikeRecord]]:
    """Every unit's strikes, in the order in which they were written. Raises `Damaged`."""
    found: dict[int, list[StrikeRecord]] = {}
    for info in store.list(keys.STRIKES):
        record = read_stamped(store, info.key, StrikeRecord, "a strike")
        found.setdefault(record.unit, []).append(record)
    return found


def write_strike(
    store: ObjectStore, unit: int, generation: int, *, alone: bool, worker: str, node: str
) -> StrikeRecord:
    """Note a death, under the next free number.

    Raises `StorageError`; `StorageRefused` where the run is gone.
    """
    must_stand(store)
    record = StrikeRecord(
        unit=unit, generation=generation, alone=alone, worker=worker, node=node, seen=time.time()
    )
    data = to_stamped_json(record)
    number = sum(1 for _ in store.list(keys.strikes(unit)))
    while write_once(store, keys.strike(unit, number), data) != data:
        number += 1
    return record


def is_poison(strikes: list[StrikeRecord], generation: int) -> bool:
    """Whether a unit's strikes of this generation are enough to give it up."""
    counted = [strike for strike in strikes if strike.generation == generation]
    return len(counted) >= LIMIT and any(strike.alone for strike in counted)


def runs_alone(strikes: list[StrikeRecord], generation: int) -> bool:
    """Whether a unit has as many strikes as it may get beside others."""
    return sum(strike.generation == generation for strike in strikes) >= COMPANY
