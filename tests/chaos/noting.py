"""Pair sources of workers that are killed: they write down what they do.

One file a process, a line at a time, so that the file outlives the process.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from factory.ledger import keys
from factory.pairs.source import PairSource
from factory.storage.protocol import ObjectInfo
from schemas.config import Compute
from schemas.recipe import Recipe
from tests.chaos.passing_store import PassingStore
from tests.chaos.subject import SUBJECTS
from tests.making import MakeSource

_asked = threading.local()
"""When this thread last began to ask the ledger something."""


@dataclass(frozen=True)
class Habits:
    """How the workers behave; travels to them."""

    log: str
    """Folder for the files."""
    pause: float = 0.0
    """Seconds that a candidate takes."""
    poison: frozenset[str] = frozenset()
    """Ids of triplets that kill the process."""
    subject: str = "stub"
    """What they make; one of `SUBJECTS`."""

    def source(self) -> MakeSource:
        """What a worker makes its pair source with."""
        return partial(_noting_source, self)


def _noting_source(habits: Habits, recipe: Recipe, compute: Compute) -> "NotingSource":
    return NotingSource(habits, SUBJECTS[habits.subject].source(recipe, compute))


class NotingSource:
    """Notes the beginning of each unit and each candidate made."""

    def __init__(self, habits: Habits, source: PairSource) -> None:
        self.habits = habits
        self.source = source
        self._file = os.open(
            Path(habits.log) / f"{os.getpid()}.jsonl",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND,
            0o600,
        )

    def pairs(self, draws):
        ids = sorted({draw.triplet.triplet_id for draw in draws})
        asked, _asked.at = getattr(_asked, "at", None), None
        self._note(begin=ids)
        if self.habits.poison & set(ids):
            os._exit(1)
        for outcome in self.source.pairs(draws):
            # Before it is handed over: what was made, was paid for, whatever happens next.
            self._note(made=outcome.draw.triplet.triplet_id, index=outcome.draw.index, asked=asked)
            time.sleep(self.habits.pause)
            yield outcome

    def environment(self):
        return self.source.environment()

    def _note(self, **fields: object) -> None:
        os.write(self._file, (json.dumps({"at": time.time(), **fields}) + "\n").encode())


class NotingStore(PassingStore):
    """A store that remembers when the ledger was last asked for a commit."""

    def get(self, key: str) -> bytes:
        self._remember(key)
        return super().get(key)

    def find(self, key: str) -> ObjectInfo | None:
        self._remember(key)
        return super().find(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._remember(prefix)
        return super().list(prefix)

    def _remember(self, key: str) -> None:
        if key.startswith((keys.COMMITS, keys.SEGMENTS)):
            _asked.at = time.time()
