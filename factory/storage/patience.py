"""How the ledger bears a store that gives no clear answer."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from factory.errors import ObjectMissing, StorageUnavailable
from factory.storage.protocol import ObjectStore

TRIES = 6
"""How often an unclear answer is asked again before the work is left for the next start."""

T = TypeVar("T")


def patiently(act: Callable[[], T]) -> T:
    """Do it again, with growing pauses, while the store gives no clear answer."""
    for tried in range(TRIES):
        try:
            return act()
        except StorageUnavailable:
            if tried == TRIES - 1:
                raise
            time.sleep(random.uniform(0.5, 1.0) * min(8.0, 0.2 * 2**tried))
    raise AssertionError("unreachable")


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
            return store.get(key)
        except ObjectMissing:
            store.put_new(key, data)
        return store.get(key)

    return patiently(attempt)
