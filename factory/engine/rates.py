"""How long an engine's network takes in batches of other sizes than its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from factory.engine.batching import Batch, Call, Slot
from factory.engine.engine import Engine
from factory.pairs.source import Draw


@contextmanager
def steps_of_other_sizes(engine: Engine, draws: Sequence[Draw]) -> Iterator[Callable[[int], float]]:
    """Inside, a function from pairs in a batch to the seconds of one step of it, full of these draws.

    Decoding and scoring are not in it: they have a batch size of their own. Nobody else may use the
    engine meanwhile.
    """
    unet, batches = engine.models.unet, dict[int, Batch]()
    before, threads = dict(unet.attn_processors), torch.get_num_threads()

    def seconds(pairs: int) -> float:
        if pairs not in batches:
            batches[pairs] = Batch(engine.models, engine.recipe, pairs)
            for batch in batches.values():
                # A batch puts its own router into the network, in place of the others'.
                batch.router = batches[pairs].router
        batch = batches[pairs]
        for place in batch.free():
            batch.admit(place, Slot(draws[place % len(draws)], Call(lambda _: None)))
        _wait(batch.x)
        started = time.perf_counter()
        batch.advance()
        _wait(batch.x)
        return time.perf_counter() - started

    # OpenMP counts them for each calling thread.
    torch.set_num_threads(engine.threads)
    try:
        yield seconds
    finally:
        unet.set_attn_processor(before)
        torch.set_num_threads(threads)


def _wait(x: torch.Tensor) -> None:
    """For what the device has been told."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    elif x.device.type == "mps":
        torch.mps.synchronize()
