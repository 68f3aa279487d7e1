"""The resident engine: one thread keeps one batch running for callers in any thread."""

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from factory.engine.batch import Batch
from factory.engine.decoder import Decoder
from factory.engine.request import Failed, Finished, Request

Outcome = Finished | Failed | Exception
"""What a caller hears of a request; an exception means that the engine failed, not the request."""


@dataclass
class Call:
    """Who asked for some requests."""

    tell: Callable[[Outcome], None]
    abandoned: bool = False
    """Set where nobody waits any more."""


Asked = tuple[Request, Call]


class Resident(threading.Thread):
    """Keeps one batch running. `beside` decodes in another thread, with a stream of its own on a GPU, while
    the next steps go on; on a CPU, where both would share its cores, in between.
    """

    def __init__(self, batch: Batch, decoder: Decoder, threads: int, *, beside: bool) -> None:
        super().__init__(name="editmill-engine", daemon=True)
        self.batch = batch
        self.decoder = decoder
        self.threads = threads
        self.rows_run = 0
        """UNet rows that carried a request."""
        self.dead: Exception | None = None
        """What ended the engine; its device may be gone."""
        self._inbox: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._next: Asked | None = None
        """Taken from the inbox, and too large for the rows that are free."""
        self._calls: dict[int, Asked] = {}
        """Of the requests in the batch, by their slots."""
        self._ending = threading.Lock()
        self._finisher = _Finisher(decoder, batch.x.device) if beside else None
        self.start()

    def submit(self, request: Request, call: Call) -> None:
        """Queue a request; its call is told from another thread. Raises when the engine is dead, and
        `ValueError` for a request that this batch can never hold.
        """
        self.batch.check(request)
        with self._ending:
            if self.dead is not None:
                raise self.dead
            self._inbox.put((request, call))

    def run(self) -> None:
        """Fill, advance, finish; until the device itself fails."""
        try:
            # OpenMP counts its threads per calling thread, so this one says it for itself.
            torch.set_num_threads(self.threads)
            while True:
                try:
                    self._fill()
                    self._advance()
                except Exception as error:
                    # A step that fails spoils the whole batch: every caller in it hears of it,
                    # first of all, since clearing may fail as well.
                    _tell_all(self._calls.values(), error)
                    self._calls.clear()
                    self.batch.clear()
        except Exception as error:
            with self._ending:
                self.dead = error
            _tell_all([*self._calls.values(), *self._waiting()], error)

    def _advance(self) -> None:
        if not self._calls:
            return
        self.rows_run += self.batch.rows_held
        done = self.batch.advance()
        if not done:
            return
        asked = [self._calls[id(slot)] for slot, _ in done]
        made = [(slot.request, latents) for slot, latents in done]
        if self._finisher is None:
            _tell_each(asked, self.decoder.finish(made))
        else:
            self._finisher.take(asked, made)
        # Not before, so that they are told whatever fails.
        for slot, _ in done:
            del self._calls[id(slot)]

    def _fill(self) -> None:
        """Take what waits, in its order; wait only where there is nothing to do."""
        while True:
            if self._next is None:
                try:
                    self._next = self._inbox.get(block=not self._calls)
                except queue.Empty:
                    return
            request, call = self._next
            if call.abandoned:
                self._next = None
                continue
            # First, since a request may wait for its rows over many steps.
            if not self.batch.fits(request):
                return
            unreadable = self._unreadable(request)
            if unreadable:
                self._next = None
                call.tell(Failed(request, unreadable, truncated=False))
                continue
            self._admit(request, call)

    def _admit(self, request: Request, call: Call) -> None:
        self._next = None
        # Told of, whatever of it fails.
        self._calls[-1] = (request, call)
        slot = self.batch.admit(request)
        self._calls[id(slot)] = self._calls.pop(-1)

    def _unreadable(self, request: Request) -> str:
        """Why a request's words cannot be tokenised; empty where they can. Needs no device."""
        try:
            for row in request.rows:
                self.batch.networks.text.truncates(row.prompt or "")
        except (ValueError, UnicodeError):
            return "prompt cannot be tokenised"
        return ""

    def _waiting(self) -> list[Asked]:
        """Empties the inbox."""
        waiting = [self._next] if self._next else []
        while True:
            try:
                waiting.append(self._inbox.get(block=False))
            except queue.Empty:
                return waiting


class _Finisher:
    """Decodes in a thread of its own."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        self.decoder = decoder
        self._thread = ThreadPoolExecutor(1, "editmill-decoder")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def take(self, asked: list[Asked], made: list[tuple[Request, Tensor]]) -> None:
        """Latents that the present stream has been told to make."""
        ready = torch.cuda.current_stream().record_event() if self._stream else None
        self._thread.submit(self._finish, asked, made, ready)

    def _finish(
        self,
        asked: list[Asked],
        made: list[tuple[Request, Tensor]],
        ready: "torch.cuda.Event | None",
    ) -> None:
        try:
            if self._stream is None or ready is None:
                _tell_each(asked, self.decoder.finish(made))
                return
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(ready)
                for _, latents in made:
                    # The memory is the other stream's, which must not reuse it before this one is done.
                    latents.record_stream(self._stream)
                _tell_each(asked, self.decoder.finish(made))
        except Exception as error:
            _tell_all(asked, error)


def _tell_each(asked: Iterable[Asked], outcomes: Iterable[Finished | Failed]) -> None:
    for (_, call), outcome in zip(asked, outcomes, strict=True):
        call.tell(outcome)


def _tell_all(asked: Iterable[Asked], error: Exception) -> None:
    # A call may hear it more than once; the first time ends it.
    for _, call in list(asked):
        call.tell(error)
