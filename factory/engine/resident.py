"""The resident engine: one thread keeps its batches running for callers in any thread."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from factory.engine.batch import Batch
from factory.engine.decoder import Decoder
from factory.engine.request import Failed, Finished, Request

Outcome = Finished | Failed | Exception
"""What a caller hears of a request; an exception means that the engine failed, not the request."""


@dataclass
class Caller:
    """Who asked for some requests."""

    tell: Callable[[Outcome], None]
    abandoned: bool = False
    """Set where nobody waits any more."""


Asked = tuple[Request, Caller]
Size = tuple[int, int]
"""Height and width of latents."""


class Resident(threading.Thread):
    """Keeps a batch running for each size of latents, one step of one of them after the other: of the
    fullest first. `beside` decodes in another thread, with a stream of its own on a GPU, while the next
    steps go on; on a CPU, where both would share its cores, in between.
    """

    def __init__(
        self,
        size: Size,
        open_batch: Callable[[Size], Batch],
        decoder: Decoder,
        threads: int,
        *,
        beside: bool,
    ) -> None:
        """`size` is that of requests that name none; batches of others are opened as they are needed."""
        super().__init__(name="editmill-engine", daemon=True)
        self.size = size
        self.decoder = decoder
        self.threads = threads
        self.rows_run = 0
        """UNet rows that carried a request."""
        self.idle_s = 0.0
        """Seconds without one, between the first and the newest."""
        self.dead: Exception | None = None
        """What ended the engine; its device may be gone."""
        self._open = open_batch
        self._batches = {size: open_batch(size)}
        self._inbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        """None ends the thread."""
        self._waiting: dict[Size, deque[Asked]] = {}
        """Taken from the inbox, for rows that are not free."""
        self._calls: dict[int, Asked] = {}
        """Of the requests in the batches, by their slots."""
        self._ending = threading.Lock()
        self._finisher = _Finisher(decoder, self.batch.x.device) if beside else None
        self.start()

    @property
    def batch(self) -> Batch:
        """That of the engine's own size."""
        return self._batches[self.size]

    def _batch_of(self, request: Request) -> Batch:
        """Where a request goes. Raises `ValueError` for one that no batch can hold."""
        size = request.size or self.size
        if size not in self._batches:
            self._batches[size] = self._open(size)
        self._batches[size].check(request)
        return self._batches[size]

    def submit(self, request: Request, call: Caller) -> None:
        """Queue a request; its call is told from another thread. Raises when the engine is dead, and
        `ValueError` for a request of the engine's own size that its batch can never hold; of another size
        the call is told so.
        """
        if request.size in (None, self.size):
            self.batch.check(request)
        with self._ending:
            if self.dead is not None:
                raise self.dead
            self._inbox.put((request, call))

    def close(self) -> None:
        """End the thread; nobody may wait for a request. What it holds goes with it."""
        with self._ending:
            self.dead = RuntimeError("the engine was closed")
            self._inbox.put(None)
        self.join()
        if self._finisher is not None:
            self._finisher.close()

    def run(self) -> None:
        """Fill, advance, finish; until it is closed, or the device itself fails."""
        try:
            # OpenMP counts its threads per calling thread, so this one says it for itself.
            torch.set_num_threads(self.threads)
            while True:
                try:
                    self._fill()
                    self._advance()
                except _Closed:
                    return
                except Exception as error:
                    # A step that fails spoils the whole batch: every caller in it hears of it,
                    # first of all, since clearing may fail as well.
                    _tell_all(self._calls.values(), error)
                    self._calls.clear()
                    for batch in self._batches.values():
                        batch.clear()
        except Exception as error:
            with self._ending:
                self.dead = error
            _tell_all([*self._calls.values(), *self._left()], error)

    def _advance(self) -> None:
        if not self._calls:
            return
        batch = max(self._batches.values(), key=lambda one: one.rows_held / one.rows)
        self.rows_run += batch.rows_held
        done = batch.advance()
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
        """Take what waits, each size in its order; wait only where there is nothing to do."""
        while True:
            while asked := self._taken(wait=not self._calls and not any(self._waiting.values())):
                size = asked[0].size or self.size
                self._waiting.setdefault(size, deque()).append(asked)
            for waiting in self._waiting.values():
                self._seat(waiting)
            if self._calls:
                return

    def _taken(self, *, wait: bool) -> Asked | None:
        """The next of the inbox."""
        try:
            return _unless_closed(self._inbox.get(block=False))
        except queue.Empty:
            if not wait:
                return None
        began = time.monotonic()
        asked = _unless_closed(self._inbox.get())
        if self.rows_run:
            self.idle_s += time.monotonic() - began
        return asked

    def _seat(self, waiting: deque[Asked]) -> None:
        """Give requests of one size their rows, as long as there are any."""
        while waiting:
            request, call = waiting[0]
            if call.abandoned:
                waiting.popleft()
                continue
            try:
                batch = self._batch_of(request)
            except ValueError as error:
                waiting.popleft()
                call.tell(error)
                continue
            # First, since a request may wait for its rows over many steps.
            if not batch.fits(request):
                return
            waiting.popleft()
            unreadable = self._unreadable(request)
            if unreadable:
                call.tell(Failed(request, unreadable, truncated=False))
                continue
            # Told of, whatever of it fails.
            self._calls[-1] = (request, call)
            slot = batch.admit(request)
            self._calls[id(slot)] = self._calls.pop(-1)

    def _unreadable(self, request: Request) -> str:
        """Why a request's words cannot be tokenised; empty where they can. Needs no device."""
        try:
            for row in request.rows:
                self.batch.networks.text.truncates(row.prompt or "")
        except (ValueError, UnicodeError):
            return "prompt cannot be tokenised"
        return ""

    def _left(self) -> list[Asked]:
        """Whoever has no rows yet; empties the inbox."""
        left = [asked for waiting in self._waiting.values() for asked in waiting]
        with suppress(_Closed):
            while asked := self._taken(wait=False):
                left.append(asked)
        return left


class _Closed(Exception):
    """The engine is not needed any more."""


def _unless_closed(asked: Asked | None) -> Asked:
    if asked is None:
        raise _Closed
    return asked


class _Finisher:
    """Decodes in a thread of its own."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        self.decoder = decoder
        self._thread = ThreadPoolExecutor(1, "editmill-decoder")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def close(self) -> None:
        self._thread.shutdown()

    def take(self, asked: list[Asked], made: list[tuple[Request, Tensor]]) -> None:
        """Latents that the present stream has been told to make."""
        ready = (
            torch.cuda.current_stream(self._stream.device).record_event() if self._stream else None
        )
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
