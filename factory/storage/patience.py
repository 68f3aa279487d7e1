"""How the ledger bears a store that gives no clear answer."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from factory.errors import Damaged, ObjectMissing, StorageRefused, StorageUnavailable
from factory.storage.protocol import ObjectStore

TRIES = 6
"""How often an unclear answer is asked again before the work is left for the next start."""

PART = 16 * 2**20
"""Bytes of a large object that are read at once to be checked."""

READS = 4
"""How often an object is read before it is called damaged: a proxy may have spoilt the reply."""

UNCLEAR, REFUSED, SPOILT = "unclear", "refused", "spoilt"
"""Kinds of `troubles`: no clear answer, a refusal, bytes that were not those that were stored."""

troubles: Counter[str] = Counter()
"""How often, since this process began, its stores did not do what the ledger asked; for who watches."""

T = TypeVar("T")


def patiently(act: Callable[[], T]) -> T:
    """Do it again, with growing pauses, while the store gives no clear answer."""
    for tried in range(TRIES):
        try:
            return act()
        except StorageRefused:
            troubles[REFUSED] += 1
            raise
        except StorageUnavailable:
            troubles[UNCLEAR] += 1
            if tried == TRIES - 1:
                raise
            time.sleep(random.uniform(0.5, 1.0) * min(8.0, 0.2 * 2**tried))
    raise AssertionError("unreachable")


def check_answers(store: ObjectStore) -> None:
    """Where one object was refused: raise what the place itself says, if it refuses all of them."""
    next(iter(store.list()), None)


def read_whole(store: ObjectStore, key: str, take: Callable[[bytes], T]) -> T:
    """What `take` makes of an object, asked for patiently; where it calls the bytes damaged the object is
    read again.

    Raises what `take` and `get` raise, `Damaged` only after `READS` reads.
    """
    before, damage = None, None
    for reads in range(READS):
        data = patiently(lambda: store.get(key))
        if data == before:
            continue
        if before is not None:
            # Other bytes each time: something on the way is unwell, and may recover.
            time.sleep(random.uniform(0.5, 1.0) * 0.1 * 2**reads)
        try:
            return take(data)
        except Damaged as error:
            troubles[SPOILT] += 1
            before, damage = data, error
    assert damage is not None
    raise damage


def read_named(store: ObjectStore, key: str, sha256: str, damaged: str) -> bytes:
    """An object of which the hash is known. Raises `Damaged` with this message, and `ObjectMissing`."""

    def take(data: bytes) -> bytes:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged(damaged)
        return data

    return read_whole(store, key, take)


def check_named(store: ObjectStore, key: str, sha256: str, size: int, damaged: str) -> None:
    """As `read_named`, in parts, of which one is in memory: whoever checks several large objects at once
    would hold all of them.
    """
    for reads in range(READS):
        if reads:
            troubles[SPOILT] += 1
        taken, first = hashlib.sha256(), 0
        while first < size:
            count = min(PART, size - first)
            part = patiently(partial(store.get_part, key, first, count))
            if not part:
                break
            taken.update(part)
            first += len(part)
        if taken.hexdigest() == sha256:
            return
    raise Damaged(damaged)


def write_once(store: ObjectStore, key: str, data: bytes) -> bytes:
    """Store an object where none is; returns what stands there, ours or another's.

    Callers compare: equal bytes are as good as ours, whoever wrote them. Where conditional writes
    are weak, two first writers at one moment may both read back their own bytes; the later one's
    stay. Every write-once object but RUN.json and the heads of plans is derived from what stands in
    the store, so that these bytes are equal anyway.
    """

    def attempt() -> bytes:
        # First a look: a weak store would overwrite what stands there.
        try:
            return stands()
        except ObjectMissing:
            store.put_new(key, data)
        return stands()

    def stands() -> bytes:
        """Other bytes than ours are read again: what was spoilt on its way is not another's word."""
        found = b""
        for _ in range(READS):
            found = store.get(key)
            if found == data:
                break
        return found

    return patiently(attempt)
