"""How long an engine's network takes in batches of other sizes than its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import torch

from factory.engine.batch import Batch
from factory.engine.device import cpu_threads
from factory.engine.engine import Engine
from factory.engine.request import Request


@contextmanager
def steps_of_other_sizes(
    engine: Engine, requests: Sequence[Request]
) -> Iterator[Callable[[int], float]]:
    """Inside, a function from the rows of a batch to the seconds of one step of it, full of these requests.

    Decoding and scoring are not in it: they have a batch size of their own. Nobody else may use the
    engine meanwhile.
    """
    batches = dict[int, Batch]()

    def seconds(rows: int) -> float:
        if rows not in batches:
            batches[rows] = Batch(engine.models, engine.resident.batch.shape[1:], rows)
        batch, waiting = batches[rows], cycle(requests)
        while batch.fits(request := next(waiting)):
            batch.admit(request)
        _wait(batch.x)
        started = time.perf_counter()
        batch.advance()
        _wait(batch.x)
        return time.perf_counter() - started

    with cpu_threads(engine.threads):
        yield seconds


def _wait(x: torch.Tensor) -> None:
    """For what the device has been told."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    elif x.device.type == "mps":
        torch.mps.synchronize()
