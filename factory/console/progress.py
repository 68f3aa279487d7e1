"""One status line: counts, rate and time left; plain lines where there is no terminal."""

import time
from collections import deque
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from factory.console.log import is_json, note, tell

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
            disable=not self.has_bar,
        )
        self._task = self._bar.add_task(noun, total=total, completed=done, words="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        _shown.append(self)
        if done := self.resumed:
            self.say(f"resuming: {done} of {self.total} {self.noun} are committed", done=done)
        return self

    def __exit__(self, *_: object) -> None:
        _shown.remove(self)
        self._bar.stop()

    @property
    def has_bar(self) -> bool:
        """Whether there is a terminal to draw on, and nobody asked for lines."""
        return self._console.is_terminal and not is_json()

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
        if now - self._last_line >= LINE_EVERY_S or self.done == self.total:
            self._last_line = now
            line = ", ".join(filter(None, (f"{self.done}/{self.total} {self.noun}", beside)))
            # A bar shows it already.
            (note if self.has_bar else tell)(line, "info", **self._fields(), **counts)

    def reach(self, done: int, words: str) -> None:
        """So many are done, and what the bar says beside that."""
        self.done = done
        self._bar.update(self._task, completed=done, words=words)

    def say(self, text: str, level: str = "info", **fields: Any) -> None:
        """A line of its own; see `say.say`."""
        if self.has_bar:
            self._console.print(text, highlight=False, markup=False)
            note(text, level, **fields)
        else:
            tell(text, level, **fields)

    @property
    def _each_s(self) -> float | None:
        """From the first that was done in this start, or of the recent ones, to the last; None where too
        little is known.
        """
        if len(self._ends) < ENOUGH or (took := self._ends[-1] - self._ends[0]) < SOON_S:
            return None
        return took / (len(self._ends) - 1)

    def _pace(self) -> str:
        each = self._each_s
        return pace(each, self.total - self.done) if each else ""

    def _fields(self) -> dict[str, Any]:
        """How far it is, for machines."""
        each, left = self._each_s, self.total - self.done
        fields = {"what": self.noun, "done": self.done, "total": self.total}
        times = {"a_minute": round(60 / each, 2), "left_s": round(left * each)} if each else {}
        return fields | times


_shown: list[Progress] = []


def shown_bar() -> Progress | None:
    """The bar that a terminal shows, if one does."""
    return _shown[-1] if _shown and _shown[-1].has_bar else None


def pace(each_s: float, left: int) -> str:
    """How many a minute, and how long the rest will take."""
    words = f"{60 / each_s:.1f} a minute"
    return f"{words}, {duration(left * each_s)} left" if left > 0 else words


def duration(seconds: float) -> str:
    """In the two largest units of hours, minutes and seconds."""
    hours, rest = divmod(int(seconds), 3600)
    if hours:
        return f"{hours} h {rest // 60} min"
    return f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"
