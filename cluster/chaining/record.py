"""What a chain leaves in its root about itself: starts, ends of steps, what is done, the log."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from factory.errors import StorageError
from factory.storage.numbered import numbers
from factory.storage.patience import patiently, write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import find_stamped, read_stamped
from schemas.ledger.stamped import to_stamped_json
from schemas.running.chain import ChainStart, ChainStep, StepEnd

FOLDER = "_chain/"
STARTS = f"{FOLDER}starts/"
ENDS = f"{FOLDER}ends/"
DONE = f"{FOLDER}done/"
LOGS = f"{FOLDER}log/"


@dataclass(frozen=True)
class ChainRecord:
    """In a root's store; several starts at once write beside each other and harm nothing."""

    store: ObjectStore

    def begin(self, steps: tuple[ChainStep, ...]) -> int:
        """Write that a start begins; returns its number."""
        data = to_stamped_json(ChainStart(began=now(), steps=steps))
        known = self.starts()
        for number in itertools.count(known[-1] + 1 if known else 0):
            if write_once(self.store, _start_key(number), data) == data:
                return number
        raise AssertionError("unreachable")

    def starts(self) -> list[int]:
        """The numbers of all starts, in order."""
        return numbers(self.store, STARTS, _start_key)

    def start(self, number: int) -> ChainStart:
        """A start. Raises `ObjectMissing`, `Damaged`."""
        return read_stamped(self.store, _start_key(number), ChainStart, "a chain's start")

    def end(self, step: ChainStep, code: int, seconds: float, start: int) -> None:
        """Write how a step ended, and where it is done that it is."""
        ended = StepEnd(
            name=step.name, exit_code=code, seconds=round(seconds, 1), ended=now(), start=start
        )
        data = to_stamped_json(ended)
        if code == 0:
            # The first is as good as this one.
            write_once(self.store, _done_key(step), data)
        write_once(self.store, f"{ENDS}{start:06d}-{step.name}.json", data)

    def done(self, step: ChainStep) -> StepEnd | None:
        """When a step was done, by these very words on these very results; None where it was not."""
        return find_stamped(self.store, _done_key(step), StepEnd, "a step's end")

    def ended(self, step: ChainStep, start: int) -> StepEnd | None:
        """How a step ended in a start; None where it did not."""
        key = f"{ENDS}{start:06d}-{step.name}.json"
        return find_stamped(self.store, key, StepEnd, "a step's end")

    def add_to_log(self, start: int, chunk: int, text: bytes) -> None:
        """Store some lines of a start's log, under a number of their own."""
        key = f"{LOGS}{start:06d}/{chunk:06d}.txt"
        patiently(lambda: self.store.put_new(key, text))

    def log(self, start: int) -> Iterator[bytes]:
        """The log of a start, in pieces."""
        for info in self.store.list(f"{LOGS}{start:06d}/"):
            yield patiently(lambda key=info.key: self.store.get(key))  # type: ignore[misc]

    def last_word(self, start: int) -> float | None:
        """Seconds since the log grew, by the store's clock; None where it has none yet."""
        try:
            times = [info.modified for info in self.store.list(f"{LOGS}{start:06d}/")]
            return max(0.0, self.store.now() - max(times)) if times else None
        except StorageError:
            return None


def now() -> str:
    """ISO time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _start_key(number: int) -> str:
    return f"{STARTS}{number:06d}.json"


def _done_key(step: ChainStep) -> str:
    return f"{DONE}{step.identity_hash}.json"
