"""Objects at keys that a stage chooses, beside the run: pictures of an edited bucket, shards of an export.

    OUT/_editmill/          the run: its records, plan, commits, manifests
    OUT/<key>               what its units leave

Before its objects a unit stores an *intent*, the list of their keys and hashes, by content. An object is
ours if an intent of this run names its key and hash. What is another's is never overwritten or removed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from factory.errors import Damaged, ObjectMissing, StorageUnavailable
from factory.ledger import keys
from factory.ledger.outcomes import Data, Outcomes
from factory.ledger.run import Run
from factory.storage.patience import patiently, read_whole
from schemas.arrow import rows_to_json
from schemas.canonical import canonical_json
from schemas.layout import Layout
from schemas.tally import count

WRITERS = 8
"""Of one unit's objects at once."""
ANOTHERS = "something else stands at its key"
"""Why an outcome failed whose key was taken."""


@dataclass(frozen=True)
class NamedObject:
    """What an intent says."""

    key: str
    sha256: str
    bytes: int


def intent_of(objects: Mapping[str, bytes]) -> Data:
    """The list of a unit's objects, as data of its own."""
    listed = [
        {"key": key, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for key, data in sorted(objects.items())
    ]
    return Data(canonical_json(listed), len(listed), "json")


def read_intent(run: Run, key: str) -> list[NamedObject]:
    """The objects of an intent. Raises `ObjectMissing` or `Damaged`."""

    def taken(data: bytes) -> list[NamedObject]:
        try:
            return [NamedObject(**one) for one in json.loads(data)]
        except (ValueError, TypeError):
            raise Damaged(f"{run.uri}/{key}: not a list of objects") from None

    return read_whole(run.store, key, taken)


def store_named(run: Run, unit: int, outcomes: Outcomes) -> Outcomes:
    """Store a unit's objects, whose intent is stored; the outcomes by what stands at their keys then.

    Where another attempt of this run was first, its object stays and is what the outcome names; where
    another's object stands, the outcome has failed.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        hashes = pool.map(partial(_stored, run), outcomes.objects, outcomes.objects.values())
        stands = dict(zip(outcomes.objects, hashes, strict=True))
    ours = {(one.key, one.sha256) for one in intents(run, unit)}
    rows = []
    for row in outcomes.rows:
        key = getattr(row, "key", None)
        if key in stands and (key, stands[key]) in ours:
            row = row.model_copy(update={"sha256": stands[key]})
        elif key in stands:
            failed = {"sha256": None, "verdict": Layout.FAILED, "reason": ANOTHERS}
            row = row.model_copy(update=failed)
        rows.append(row)
    tally = count(run.layout, rows_to_json(rows))
    return replace(outcomes, rows=rows, tally=tally)


def intents(run: Run, unit: int) -> Iterator[NamedObject]:
    """What any attempt at a unit meant to leave."""
    prefix = keys.data(run.layout.stage, unit, "", "").removesuffix(".")
    for info in run.store.list(prefix):
        yield from read_intent(run, info.key)


def stands(run: Run, one: NamedObject) -> bool:
    """Whether an object stands where an intent says, with its bytes."""
    return _hash_at(run, one.key) == one.sha256


def _stored(run: Run, key: str, data: bytes) -> str:
    """The hash of what stands at a key once this was offered."""

    def attempt() -> str:
        # A weak store would overwrite what stands there: first a look.
        found = _hash_at(run, key) if run.commits == "sealed" else None
        if found is None and run.place.put_new(key, data) and run.commits == "conditional":
            return hashlib.sha256(data).hexdigest()
        found = found or _hash_at(run, key)
        if found is None:
            raise StorageUnavailable(f"{run.place.uri}/{key}: stored, yet not there")
        return found

    return patiently(attempt)


def _hash_at(run: Run, key: str) -> str | None:
    try:
        return hashlib.sha256(run.place.get(key)).hexdigest()
    except ObjectMissing:
        return None
