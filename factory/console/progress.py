"""One status line: counts, rate and time left; plain lines where there is no terminal."""

import sys
import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

LINE_EVERY_S = 10.0
"""Seconds between plain lines."""
RECENT = 64
"""So many of the last ones decide how long the rest will take."""
ENOUGH = 3
"""Nothing is said of time before so many are done: the first one loads models."""
SOON_S = 1.0
"""Nor before so long lies between them: those of one batch come at once."""


class Reached(str):
    """A line that says how far a long work is; a bar on a terminal moves there in place of it."""

    done: int
    beside: str
    """What a bar says beside the count."""

    @classmethod
    def of(cls, line: str, done: int, beside: str) -> "Reached":
        """Travels as any string does, with what it says."""
        found = cls(line)
        found.done, found.beside = done, beside
        return found


class Progress:
    """Counts towards a total on stderr; stdout stays free for results.

    What comes with a count, such as pairs, is of this start alone, which is said where others went before.
    """

    def __init__(self, noun: str, total: int, done: int = 0) -> None:
        self.noun = noun
        self.total = total
        self.done = done
        self.resumed = done
        self._ends: deque[float] = deque(maxlen=RECENT)
        self._last_line = time.monotonic()
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(noun, total=total, completed=done, words="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        _shown.append(self)
        if done := self.resumed:
            self.say(f"resuming: {done} of {self.total} {self.noun} are committed")
        return self

    def __exit__(self, *_: object) -> None:
        _shown.remove(self)
        self._bar.stop()

    @property
    def has_bar(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._console.is_terminal

    def advance(self, **counts: int) -> None:
        """One more is done."""
        now = time.monotonic()
        self._ends.append(now)
        self.done += 1
        words = ", ".join(
            f"{value} {name.removesuffix('s') if value == 1 else name}"
            for name, value in counts.items()
        )
        if words and self.resumed:
            words += " in this start"
        beside = ", ".join(filter(None, (words, self._pace())))
        self.reach(self.done, beside)
        due = now - self._last_line >= LINE_EVERY_S or self.done == self.total
        if due and not self.has_bar:
            self._last_line = now
            self.say(", ".join(filter(None, (f"{self.done}/{self.total} {self.noun}", beside))))

    def reach(self, done: int, words: str) -> None:
        """So many are done, and what the bar says beside that."""
        self.done = done
        self._bar.update(self._task, completed=done, words=words)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.has_bar:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _pace(self) -> str:
        """From the first that was done in this start, or of the recent ones, to the last."""
        if len(self._ends) < ENOUGH or (took := self._ends[-1] - self._ends[0]) < SOON_S:
            return ""
        each = took / (len(self._ends) - 1)
        words = f"{60 / each:.1f} a minute"
        left = self.total - self.done
        return f"{words}, {duration(left * each)} left" if left > 0 else words


_shown: list[Progress] = []


def shown_bar() -> Progress | None:
    """The bar that a terminal shows, if one does."""
    return _shown[-1] if _shown and _shown[-1].has_bar else None


def duration(seconds: float) -> str:
    """In the two largest units of hours, minutes and seconds."""
    hours, rest = divmod(int(seconds), 3600)
    if hours:
        return f"{hours} h {rest // 60} min"
    return f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"
