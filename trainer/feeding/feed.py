"""The micro-batches of coming steps: read, and where no network is asked made, while a step runs."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch

from trainer.feeding.reader import LoadedRow, Reader, assemble, micro_batches
from trainer.learning.group import Workplace
from trainer.learning.objective import NUMBERS, MicroBatch
from trainer.learning.order import Order

AHEAD = 2
"""Steps whose pictures are read before they are needed; the next of them is made."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class StepPart:
    """A micro-batch of a step."""

    items: list[LoadedRow]
    batch: Callable[[], MicroBatch]
    """Gives it on the device."""


@dataclass(eq=False)
class Feed:
    """This worker's part of the steps from `first` up to `until`, in order."""

    order: Order
    reader: Reader
    at: Workplace
    first: int
    until: int

    def __post_init__(self) -> None:
        self._coming = iter(range(self.first, self.until))
        self._loaders = ThreadPoolExecutor(self.at.compute.loaders)
        self._maker = ThreadPoolExecutor(1)
        self._read: deque[list[Future[LoadedRow]]] = deque()
        """The maker's alone."""
        self._next: Future[list[StepPart]] | None = None

    def step(self) -> list[StepPart]:
        """What the next step is made of: nothing at the end. Raises what its reading raised."""
        now = self._next or self._maker.submit(self._made)
        self._next = self._maker.submit(self._made)
        return now.result()

    def close(self) -> None:
        """What is read ahead is in vain, and waited for only where a read has begun."""
        # The loaders first: the maker waits for a whole step of theirs.
        for threads in (self._loaders, self._maker):
            threads.shutdown(cancel_futures=True)

    def _made(self) -> list[StepPart]:
        self._read.extend(map(self._items, islice(self._coming, AHEAD - len(self._read))))
        rows = [future.result() for future in self._read.popleft()] if self._read else []
        return parts_of(self.reader, rows, self.at)

    def _items(self, step: int) -> list[Future[LoadedRow]]:
        law = self.at.law
        items = (
            self.order.item(step, slot, law.flip, law.dropout)
            for slot in self.at.group.slots(law.batch)
        )
        return [self._loaders.submit(self.reader.read, item) for item in items]


def parts_of(reader: Reader, rows: list[LoadedRow], at: Workplace) -> list[StepPart]:
    """A worker's items of a step as micro-batches: made now, or where networks are asked when needed."""
    device, numbers = at.device, NUMBERS[at.law.dtype]
    parts = []
    for items in micro_batches(rows, at.compute.micro_batch):
        if reader.asks_networks:
            # Beside the step before they would only slow it down.
            batch = partial(assemble, reader, items, device, numbers)
        else:
            made = assemble(reader, items, CPU, numbers)
            batch = partial((made.pinned() if device.type == "cuda" else made).to, device)
        parts.append(StepPart(items, batch))
    return parts
