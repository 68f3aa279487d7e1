"""A chain's one log: what its steps print is shown as ever, and stored in the root piece by piece."""

import sys
import threading
import time
from typing import IO, TextIO

from cluster.chaining.record import ChainRecord
from factory.console.say import printable
from factory.errors import EditmillError

EVERY_S = 30.0
"""Between two pieces; those of a chain that is killed lack as much at their end."""
AFTER_S = 5.0
"""How long the output of a step that has ended is waited for: what it started may hold its end open."""


class ChainLog:
    """Writes pieces while something was said; a store that refuses one costs the log, not the chain."""

    def __init__(self, record: ChainRecord, start: int, results: TextIO) -> None:
        self._record = record
        self._start = start
        self._results = results
        """Where steps' stdout goes."""
        self._held = bytearray()
        self._lock = threading.Lock()
        self._chunk = 0
        self._written = time.monotonic()

    def say(self, text: str) -> None:
        """A line of the chain's own, on stderr."""
        line = printable(text)
        print(line, file=sys.stderr, flush=True)
        self._hold(f"{line}\n".encode())

    def pass_on(self, *streams: tuple[IO[bytes], bool]) -> "list[threading.Thread]":
        """Begin to read a step's streams, each with whether it is its stdout."""
        threads = []
        for stream, is_results in streams:
            sink = self._results if is_results else sys.stderr
            thread = threading.Thread(target=self._copy, args=(stream, sink), daemon=True)
            thread.start()
            threads.append(thread)
        return threads

    def _copy(self, stream: IO[bytes], sink: TextIO) -> None:
        with stream:
            while data := stream.readline():
                self._hold(data)
                sink.write(data.decode(errors="replace"))
                sink.flush()

    def _hold(self, data: bytes) -> None:
        with self._lock:
            self._held += data

    def store(self, at_once: bool = False) -> None:
        """Store what was said since the last piece, now and then or at once."""
        if not at_once and time.monotonic() - self._written < EVERY_S:
            return
        self._written = time.monotonic()
        with self._lock:
            data, self._held = bytes(self._held), bytearray()
        if not data:
            return
        try:
            self._record.add_to_log(self._start, self._chunk, data)
            self._chunk += 1
        except EditmillError as error:
            print(f"the log is not stored: {printable(str(error))}", file=sys.stderr, flush=True)


def wait_for(threads: "list[threading.Thread]") -> None:
    """Until all was read, or for a while."""
    until = time.monotonic() + AFTER_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
