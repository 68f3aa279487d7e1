"""Whether a store keeps the promises the ledger rests on, tried before any work is done."""

import math
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from factory.deeds import PROBES
from factory.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from factory.storage.patience import READS, patiently
from factory.storage.protocol import HoldingStore, ObjectInfo, ObjectStore, PagedStore

WRITERS = 8
ROUNDS = 12
"""For a store that keeps no writer waiting: a real weak one (Swift) passes about every second race
unnoticed, and more of them on a machine that is busy.
"""
LEAST_ROUNDS = 8
"""However slow the store: a weak one may well be a slow one."""
RACING_SECONDS = 4.0
"""No further round than these is begun after this, so that a distant store is probed in good time."""
OVERLAPS = 3
"""A request that failed and was sent again shows nothing, nor does a server that asks for bytes late."""
OVERLAP_SECONDS = 3.0
"""How long the second of two writers is waited for: some servers let it wait for the first."""
ODD_RACES = 3
"""So many in a row that read oddly are the store's doing, and not a proxy's."""
ABANDONED_S = 3600.0
"""What is older below `PROBES`, by the store's own times, no living start has left."""


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
    """Try a store: write, refuse a second write, list, read, overlap, race; then remove what was written.

    Also what a start that died left, once it is old; where the right to delete is absent all stays.
    Raises `StorageRefused` or `StorageUnavailable` with a remedy where it cannot be used at all:
    wrong keys, no bucket, no right to write, or a listing or a read that lags behind a write, or a
    listing that is not whole.
    """
    trial = _Trial(store)
    try:
        return trial.run()
    finally:
        trial.clean_up()


class _Trial:
    """One probe and what it wrote."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.keys: list[str] = []
        """Of all that may have been written."""
        self.stored: set[str] = set()
        """Of what was read back."""

    def run(self) -> StoreProbe:
        started = time.monotonic()
        key = new_key()
        reason = self._write_twice(key)
        beside = f"{key}-beside"
        self.keys.append(beside)
        self.store.put(beside, b"another")
        self.stored.add(beside)
        # Of two objects one a page: whether the server goes on from page to page.
        paged = self.store if isinstance(self.store, PagedStore) else None
        self._must_show(paged.list_by(key, 1) if paged else self.store.list(key))
        if isinstance(self.store, HoldingStore) and not reason:
            reason = overlap(self)
        rounds = 0
        racing_ends = time.monotonic() + RACING_SECONDS
        while (
            not reason
            and rounds < ROUNDS
            and (rounds < LEAST_ROUNDS or time.monotonic() < racing_ends)
        ):
            reason = weakness(lambda: _race(self))
            rounds += 1
        # Of a dozen: a server whose pages are short, and that calls the first one the last.
        self._must_show(self.store.list(PROBES))
        return StoreProbe(
            "weak" if reason else "conditional", reason, rounds, time.monotonic() - started
        )

    def clean_up(self) -> None:
        """Best effort: the next start has another look."""
        with suppress(StorageError), ThreadPoolExecutor(WRITERS) as pool:
            # One alone: where it is refused, the others would be.
            first, *rest = self.keys
            abandoned = self._abandoned()
            self.store.delete(first)
            for _ in pool.map(self.store.delete, rest + abandoned):
                pass

    def put_new(self, key: str, data: bytes) -> bool:
        if key not in self.keys:
            self.keys.append(key)
        return self.store.put_new(key, data)

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        assert isinstance(self.store, HoldingStore)
        self.keys.append(key)
        return self.store.put_new_across(key, data, meanwhile)

    def get(self, key: str) -> bytes:
        """As the store's; what is there a listing must show from now on."""
        data = patiently(lambda: self.store.get(key))
        self.stored.add(key)
        return data

    def _write_twice(self, key: str) -> str:
        """What was wrong with two writes of one key, one after the other."""
        first, second = b"first " + key.encode(), b"second " + key.encode()
        # False on an unguessable key: the reply was lost and the repetition met the first try.
        self.put_new(key, first)
        again = self.put_new(key, second)
        stored = read_expecting(self, key, (first, second))
        if stored not in (first, second):
            raise StorageRefused(
                f"{self.store.uri}/{key}: expected the bytes just written, got others"
            )
        return "a second conditional write was accepted" if again or stored != first else ""

    def _must_show(self, listing: Iterable[ObjectInfo]) -> None:
        got = [info.key for info in listing]
        if not self.stored <= set(got) or len(set(got)) < len(got):
            raise StorageRefused(
                f"{self.store.uri}: expected a listing to show each object just written once, got "
                f"{len(set(got) & self.stored)} of {len(self.stored)}; a run needs a store with consistent "
                "listings"
            )

    def _abandoned(self) -> list[str]:
        """What a start left that died, by the store's own times; never a living one's."""
        try:
            listed = {info.key: info.modified for info in self.store.list(PROBES)}
        except StorageError:
            return []
        now = max((listed[key] for key in self.keys if key in listed), default=0.0)
        if not math.isfinite(now):
            return []
        return [key for key, modified in listed.items() if modified < now - ABANDONED_S]


class Tried(Protocol):
    """Of a store, what a race asks for."""

    def put_new(self, key: str, data: bytes) -> bool: ...

    def get(self, key: str) -> bytes: ...


Verdict = tuple[str, bool]
"""What was wrong, empty where nothing was; and whether no spoilt reply can have looked so."""


def weakness(race: Callable[[], Verdict]) -> str:
    """What was wrong with several writers of one key; empty where nothing was.

    A race that reads oddly is run again before the store is blamed, since that is for good: a run that is
    begun on a weak store stays one of a weak store, and a proxy may have spoilt a reply.
    """
    reason = ""
    for _ in range(ODD_RACES):
        reason, is_certain = race()
        if not reason or is_certain:
            break
    return reason


def _race(store: Tried) -> Verdict:
    """Several writers begin at once."""
    key = new_key()
    bodies = [f"writer {number}".encode() for number in range(WRITERS)]
    together = threading.Barrier(WRITERS)

    def write(body: bytes) -> bool | None:
        together.wait()
        return clear_answer(lambda: store.put_new(key, body))

    with ThreadPoolExecutor(WRITERS) as pool:
        answers = list(pool.map(write, bodies))
    return judge(store, key, bodies, answers)


def overlap(trial: _Trial) -> str:
    """What was wrong where one writer began before a second and ended after it; empty where nothing was.

    So hardly any luck decides. Where a proxy waits for all of a request before it passes any on, the second
    is simply there first, which shows nothing.
    """
    reason = ""
    for _ in range(OVERLAPS):
        one = _Overlap(trial)
        reason = weakness(one.race)
        if reason or one.second_waited:
            break
    return reason


@dataclass
class _Overlap:
    """Two writers of a key, of whom the second comes while the first one's bytes are kept back."""

    trial: _Trial
    second_waited: bool = False
    """For the first: then the store lets one in at a time, and there is no more to be learnt."""

    def race(self) -> Verdict:
        key = new_key()
        first, second = bodies = [b"writer who waits", b"writer who comes between"]
        answers: list[bool | None] = [None, None]
        came: list[Future[bool | None]] = []
        with ThreadPoolExecutor(1) as pool:

            def meanwhile() -> None:
                write = partial(self.trial.put_new, key, second)
                came.append(pool.submit(clear_answer, write))
                self.second_waited = bool(wait(came, OVERLAP_SECONDS).not_done)

            # A gateway may lose its patience with it: that such writes are taken was seen before.
            with suppress(StorageRefused):
                write = partial(self.trial.put_new_across, key, first, meanwhile)
                answers[0] = clear_answer(write)
        if not came:
            return "", False
        answers[1] = came[0].result()
        return judge(self.trial, key, bodies, answers)


def clear_answer(write: Callable[[], bool]) -> bool | None:
    """Whether it won; None where some stores answer 409 while two writers meet."""
    try:
        return write()
    except StorageUnavailable:
        return None


def judge(
    store: Tried, key: str, bodies: Sequence[bytes], answers: Sequence[bool | None]
) -> Verdict:
    """By each writer's answer, and what is stored now."""
    won = [body for body, answer in zip(bodies, answers, strict=True) if answer]
    if len(won) > 1:
        many = f"{len(won)} of {len(bodies)} simultaneous conditional writes were accepted"
        return many, True
    try:
        stored = read_expecting(store, key, won or bodies)
    except ObjectMissing:
        if None in answers and not won:
            return "", False
        return "nothing is stored after simultaneous conditional writes", False
    return "" if stored in (won or bodies) else "the body stored is not the winner's", False


def read_expecting(store: Tried, key: str, expected: Collection[bytes]) -> bytes:
    """An object, read again where it is not as expected: the reply may have been spoilt."""
    for _ in range(READS):
        stored = store.get(key)
        if stored in expected:
            break
    return stored


def new_key() -> str:
    """One that nobody can guess."""
    return f"{PROBES}{secrets.token_hex(16)}"
