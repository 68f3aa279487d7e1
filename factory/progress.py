"""One status line: counts, rate and time left; plain lines where there is no terminal."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_EVERY_S = 10.0
"""Seconds between plain lines."""


class Progress:
    """Counts towards a total on stderr; stdout stays free for results."""

    def __init__(self, noun: str, total: int, done: int = 0) -> None:
        self.noun = noun
        self.total = total
        self.done = done
        self.resumed = done
        self.started = time.monotonic()
        self._last_line = self.started
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(noun, total=total, completed=done, counts="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        if done := self.resumed:
            self.say(f"resuming: {done} of {self.total} {self.noun} are committed")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, **counts: int) -> None:
        """One more is done."""
        self.done += 1
        words = ", ".join(f"{value} {name}" for name, value in counts.items())
        self._bar.update(self._task, completed=self.done, counts=words)
        now = time.monotonic()
        if not self._console.is_terminal and (
            now - self._last_line >= LINE_EVERY_S or self.done == self.total
        ):
            self._last_line = now
            rate = (self.done - self.resumed) / max(now - self.started, 1e-9)
            left = (self.total - self.done) / rate if rate else 0.0
            parts = [f"{self.done}/{self.total} {self.noun}", words, f"{rate * 60:.1f} a minute"]
            self.say(", ".join([*filter(None, parts), f"{left:.0f} s left"]))

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)
