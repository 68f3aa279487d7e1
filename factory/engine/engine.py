"""The engine as everybody else sees it: requests in, pictures, scores or latents out."""

import queue
from collections.abc import Callable, Iterator, Sequence

import torch

from factory.engine.batch import Batch
from factory.engine.decoder import Decoder
from factory.engine.networks import Networks
from factory.engine.procedure import Procedure
from factory.engine.request import Failed, Finished, Request
from factory.engine.resident import Caller, Outcome, Resident


class Engine:
    """One network, resident on one device: requests for pictures of one size share a batch of so many rows.

    `make` may be called from several threads at once; all calls share the batch, so that the end of one
    call's list never leaves the device idle.
    """

    def __init__(
        self,
        models: Networks,
        size_px: tuple[int, int],
        *,
        rows: int | Callable[[tuple[int, int]], int],
        decode_pictures: int = 4,
        threads: int = 1,
    ) -> None:
        """`size_px` is height and width of what names no size, multiples of the autoencoder's factor.
        `rows` are of every batch, or told by the size of its latents.
        """
        self.models = models
        self.threads = threads
        torch.set_num_threads(threads)
        factor = models.autoencoder.factor
        size = size_px[0] // factor, size_px[1] // factor

        def opened(size: tuple[int, int]) -> Batch:
            asked = rows(size) if callable(rows) else rows
            return Batch(models, size, even_rows(asked, threads, models.device.type))

        self.resident = Resident(
            size,
            opened,
            Decoder(models, decode_pictures),
            threads,
            beside=models.device.type == "cuda",
        )

    def make(self, requests: Sequence[Request]) -> Iterator[Finished | Failed]:
        """One result per request, as they are ready.

        Raises whatever made the engine itself fail, and `ValueError` for a request that this network or
        size cannot take; requests that nobody waits for any more are dropped before they are begun.
        """
        for _, result in self.carry_out([_alone(request) for request in requests]):
            yield result

    def carry_out(self, procedures: Sequence[Procedure]) -> Iterator[tuple[int, Finished | Failed]]:
        """The last result of each procedure with its place among them, as they are ready; one of whose
        requests fails ends there. Twins that are asked for together are made once. Raises as `make`.
        """
        ready: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        call = Caller(ready.put)
        going: dict[int, list[int]] = {}
        twins: dict[str | None, list[int]] = {}

        def ask(place: int, request: Request) -> None:
            if request.twin in twins:
                twins[request.twin].append(place)
                return
            going[id(request)] = places = [place]
            if request.twin is not None:
                twins[request.twin] = places
            self.resident.submit(request, call)

        try:
            for place, procedure in enumerate(procedures):
                ask(place, next(procedure))
            while going:
                outcome = ready.get()
                if isinstance(outcome, Exception):
                    raise outcome
                twins.pop(outcome.request.twin, None)
                for place in going.pop(id(outcome.request)):
                    if isinstance(outcome, Finished):
                        try:
                            ask(place, procedures[place].send(outcome))
                            continue
                        except StopIteration:
                            pass
                    yield place, outcome
        finally:
            call.abandoned = True

    def close(self) -> None:
        """Let go of the networks, once nobody waits for a request; the engine makes nothing afterwards."""
        self.resident.close()

    @property
    def rows_run(self) -> int:
        """UNet rows that carried a request so far."""
        return self.resident.rows_run

    @property
    def idle_s(self) -> float:
        """Seconds without a request, between the first and the newest."""
        return self.resident.idle_s


def _alone(request: Request) -> Procedure:
    yield request


def even_rows(rows: int, threads: int, device: str) -> int:
    """So many rows, or on a CPU a few more, which nobody need hold: an even number for each of its threads.

    A row that threads share, or that is the odd one of a thread, has other last bits than its neighbours:
    of 6, 9 or 10 rows on two threads edits came out otherwise beside others than alone, of 4, 8, 12, 16, 20
    and 24 never, nor on one thread of any number.
    """
    whole = 2 * threads if device == "cpu" and threads > 1 else 1
    return -(-rows // whole) * whole
