"""Whether a store keeps the promises the ledger rests on, tried before any work is done."""

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from factory.errors import ObjectMissing, StorageRefused, StorageUnavailable
from factory.storage.protocol import ObjectStore

PROBES = "probe/"
"""The prefix of the few tiny objects a probe leaves behind; nothing else is kept there."""

WRITERS = 8
ROUNDS = 12
"""A real weak store (Swift) passes about every second one unnoticed."""
LEAST_ROUNDS = 8
"""However slow the store: a weak one may well be a slow one."""
RACING_SECONDS = 4.0
"""No further round than these is begun after this, so that a distant store is probed in good time."""


@dataclass(frozen=True)
class StoreProbe:
    """What a probe found. It can only find failures: a weak store may win every round."""

    commits: Literal["conditional", "weak"]
    """Whether, of several writers of one new key, exactly one succeeds."""
    reason: str
    """Why they are weak; empty where they are not."""
    rounds: int
    """Races run."""
    seconds: float
    """Time taken."""


def probe(store: ObjectStore) -> StoreProbe:
    """Try a store: write, refuse a second write, list, read, race.

    Raises `StorageRefused` or `StorageUnavailable` with a remedy where it cannot be used at all:
    wrong keys, no bucket, no right to write, or a listing or a read that lags behind a write.
    """
    started = time.monotonic()
    key = f"{PROBES}{secrets.token_hex(16)}"
    first, second = b"first " + key.encode(), b"second " + key.encode()
    # False on an unguessable key: the reply was lost and the repetition met the first try.
    store.put_new(key, first)
    again = store.put_new(key, second)
    stored = store.get(key)
    if stored not in (first, second):
        raise StorageRefused(f"{store.uri}/{key}: expected the bytes just written, got others")
    listed = {info.key: info.bytes for info in store.list(key)}
    if listed != {key: len(stored)}:
        raise StorageRefused(
            f"{store.uri}: expected a listing to show the object just written, got {listed}; "
            "a run needs a store with consistent listings"
        )
    reason = "a second conditional write was accepted" if again or stored != first else ""
    rounds = 0
    racing_ends = time.monotonic() + RACING_SECONDS
    while (
        not reason and rounds < ROUNDS and (rounds < LEAST_ROUNDS or time.monotonic() < racing_ends)
    ):
        reason = race(store)
        rounds += 1
    return StoreProbe(
        "weak" if reason else "conditional", reason, rounds, time.monotonic() - started
    )


def race(store: ObjectStore) -> str:
    """What was wrong with one race of several writers for one key; empty where nothing was."""
    key = f"{PROBES}{secrets.token_hex(16)}"
    bodies = [f"writer {number}".encode() for number in range(WRITERS)]
    together = threading.Barrier(WRITERS)

    def write(body: bytes) -> bool | None:
        together.wait()
        try:
            return store.put_new(key, body)
        except StorageUnavailable:
            # Some stores answer 409 while two writers meet: neither a win nor a loss.
            return None

    with ThreadPoolExecutor(WRITERS) as pool:
        answers = list(pool.map(write, bodies))
    won = [body for body, answer in zip(bodies, answers, strict=True) if answer]
    if len(won) > 1:
        return f"{len(won)} of {WRITERS} simultaneous conditional writes were accepted"
    try:
        stored = store.get(key)
    except ObjectMissing:
        if None in answers and not won:
            return ""
        return "nothing is stored after simultaneous conditional writes"
    return "" if stored in (won or bodies) else "the body stored is not the winner's"
