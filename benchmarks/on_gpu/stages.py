"""Measures one after another within a time: what fails or is not reached says so, and the rest goes on.

For a first run on a machine that nobody has seen, where one failure must not cost the other figures.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Figures = Mapping[str, Any]
Keep = Callable[[dict[str, Any]], None]
"""Stores what was found so far."""

STOPPED = 4
"""Exit code of a run that its watchdog ended."""


@dataclass(frozen=True)
class Stage:
    """A measure, and the seconds below which it is not begun."""

    name: str
    measure: Callable[[], Figures]
    needs_s: float = 0.0


class Stages:
    """Runs stages until its time is over; `found` says at any moment what is known.

    `found["figures"]` holds all figures in one mapping, `stages` the seconds and the peak memory of each
    stage that ended well, `failed` the others' errors, `not_reached` those that the time did not suffice
    for, `running` the one that is under way.
    """

    def __init__(self, seconds: float, keep: Keep, memory: Any = None) -> None:
        self.ends = time.monotonic() + seconds
        self.keep = keep
        self.memory = memory
        """Has `forget()`, before a stage, and `peak()`, figures after it; as `device_time.Memory`."""
        self.found: dict[str, Any] = {
            "figures": {},
            "stages": {},
            "failed": {},
            "not_reached": [],
            "running": None,
        }
        self.waiting: list[str] = []
        self._lock = threading.Lock()

    def left(self) -> float:
        """Seconds until the time is over."""
        return self.ends - time.monotonic()

    def run(self, stages: Sequence[Stage]) -> None:
        """In order; the first one for which too little time is left is dropped, and all after it."""
        self.waiting = [stage.name for stage in stages]
        for number, stage in enumerate(stages):
            if self.left() < stage.needs_s:
                self._note(running=None, not_reached=[one.name for one in stages[number:]])
                return
            self.waiting = [one.name for one in stages[number + 1 :]]
            self._note(running=stage.name)
            self._measure(stage)
        self._note(running=None)

    def _measure(self, stage: Stage) -> None:
        begun = time.monotonic()
        try:
            if self.memory is not None:
                self.memory.forget()
            figures = stage.measure()
            peak = self.memory.peak() if self.memory is not None else {}
        except Exception as error:
            traceback.print_exc()
            self._note(failed={stage.name: said(error)})
            return
        seconds = round(time.monotonic() - begun, 1)
        self._note(figures=figures, stages={stage.name: {"seconds": seconds, **peak}})

    def _note(self, **news: Any) -> None:
        with self._lock:
            for key, value in news.items():
                self.found[key] = merged(self.found[key], value)
            self.keep(self.found)

    def end_by_force(self, after: Callable[[], None] = lambda: None) -> None:
        """What a watchdog does: note what was under way and what was not reached, then end the process."""
        name = self.found["running"]
        error = "did not end within the time of the whole run"
        self._note(
            running=None, failed={name: error} if name else {}, not_reached=list(self.waiting)
        )
        after()
        sys.stderr.flush()
        os._exit(STOPPED)


def merged(old: Any, new: Any) -> Any:
    """Mappings key by key, all levels down; anything else is replaced."""
    if not (isinstance(old, dict) and isinstance(new, Mapping)):
        return new
    return old | {key: merged(old.get(key), value) for key, value in new.items()}


def said(error: BaseException) -> str:
    """An error's kind, its first words and the innermost of our lines that it came through."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(f"{ROOT}/")]
    ours = [frame for frame in ours if "site-packages" not in frame.filename]
    if ours:
        text += f" (at {ours[-1].filename}:{ours[-1].lineno})"
    return text.replace(f"{ROOT}/", "")
