"""Makers of workers that are killed: they write down what they do.

One file a process, a line at a time, so that the file outlives the process.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from factory.ledger import keys
from factory.ledger.run import Run
from factory.storage.protocol import ObjectInfo
from factory.work.stage import Load, Stage
from tests.chaos.stores.passing_store import PassingStore
from tests.chaos.subjects.subject import Work, subject_of

_asked = threading.local()
"""When this thread last began to ask the ledger something, as `at`; and before this unit, as `before`."""


@dataclass(frozen=True)
class Habits:
    """How the workers behave; travels to them."""

    log: str
    """Folder for the files."""
    pause: float = 0.0
    """Seconds that an outcome takes."""
    poison: frozenset[str] = frozenset()
    """Ids of items that kill the process."""

    def noted(self, stage: Stage, work: Work) -> Stage:
        """The stage, whose workers write down what they do."""
        return replace(stage, load=partial(_load_noting, self, work, stage.load))


def _load_noting(habits: Habits, work: Work, load: Load, run: Run, pool: Any) -> "NotingMaker":
    return NotingMaker(habits, work, load(run, pool))


class NotingMaker:
    """Notes the beginning of each unit and each outcome made."""

    def __init__(self, habits: Habits, work: Work, maker: Any) -> None:
        self.habits = habits
        self.subject = subject_of(work)
        self.maker = self.subject.heard(maker, self._made)
        self.subject.noted(maker, self._note)
        self._file = os.open(
            Path(habits.log) / f"{os.getpid()}.jsonl",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND,
            0o600,
        )

    def make(self, unit, items):
        ids = self.subject.ids(items)
        _asked.before, _asked.at = getattr(_asked, "at", None), None
        self._note(begin=ids)
        if self.habits.poison & set(ids):
            os._exit(1)
        return self.maker.make(unit, items)

    def close(self):
        self.maker.close()

    def _made(self, item: str, index: int) -> None:
        self._note(made=item, index=index, asked=_asked.before)
        time.sleep(self.habits.pause)

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
