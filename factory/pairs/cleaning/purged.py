"""The list of candidates that were taken out of a run: `purged.jsonl`."""

import json
from collections import Counter
from collections.abc import Mapping

from factory.errors import Damaged, InputError
from factory.ledger import keys
from factory.ledger.run import Run
from factory.storage.patience import read_whole, write_once
from factory.storage.protocol import ObjectStore

Name = tuple[str, int]
"""Of a candidate: its triplet, and which try."""
PURGED = "purged"
"""How the reason of a candidate begins that was taken out; what comes after a comma is its own."""


def write_purged(run: Run, reasons: Mapping[Name, str]) -> None:
    """Say which candidates a run lacks. Raises `InputError` where it lacks others already."""
    lines = [
        json.dumps({"triplet_id": triplet, "index": index, "reason": reason}, ensure_ascii=False)
        for (triplet, index), reason in sorted(reasons.items())
    ]
    data = "".join(f"{line}\n" for line in lines).encode()
    if write_once(run.store, keys.PURGED, data) != data:
        raise InputError(
            f"{run.uri}: other pairs were taken out of it; choose another --name or --out"
        )


def read_purged(store: ObjectStore) -> dict[Name, str]:
    """Which candidates a run lacks, and why. Raises `Damaged`."""

    def parse(data: bytes) -> dict[Name, str]:
        try:
            rows = [json.loads(line) for line in data.splitlines()]
            return {(str(row["triplet_id"]), int(row["index"])): str(row["reason"]) for row in rows}
        except (ValueError, KeyError, TypeError):
            raise Damaged(f"{store.uri}/{keys.PURGED}: not a list of candidates") from None

    return read_whole(store, keys.PURGED, parse)


def purged_by_reason(store: ObjectStore) -> dict[str, int]:
    """How many candidates a run lacks, the most frequent reason first; none where none was taken out."""
    if not store.find(keys.PURGED):
        return {}
    reasons = read_purged(store).values()
    kinds = (reason.removeprefix(f"{PURGED}: ").partition(",")[0] for reason in reasons)
    return dict(Counter(kinds).most_common())
