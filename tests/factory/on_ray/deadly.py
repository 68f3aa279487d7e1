"""A pair source that kills its process on some triplets, as often as a folder of marks allows."""

import os
import shutil
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from factory.on_ray import metrics
from tests.stub_source import StubSource


@dataclass(frozen=True)
class Deadly:
    """Makes such a source; travels to the workers by name."""

    triplet_ids: tuple[str, ...]
    marks: str
    times: int = 1_000_000
    seconds: float = 0.0

    def __call__(self, recipe, compute):
        return _Source(self)


class _Source(StubSource):
    def __init__(self, deadly):
        super().__init__()
        self.deadly = deadly

    def end(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def pairs(self, draws):
        marks = Path(self.deadly.marks)
        for outcome in super().pairs(draws):
            deadly = outcome.draw.triplet.triplet_id in self.deadly.triplet_ids
            if deadly and len(list(marks.iterdir())) < self.deadly.times:
                (marks / uuid.uuid4().hex).touch()
                # So that its neighbour is in the middle of something.
                time.sleep(0.2)
                self.end()
            time.sleep(self.deadly.seconds)
            yield outcome


@dataclass(frozen=True)
class Hanging(Deadly):
    """Sleeps in place of dying."""

    def __call__(self, recipe, compute):
        return _Hanging(self)


class _Hanging(_Source):
    def end(self):
        time.sleep(3600)


@dataclass(frozen=True)
class Slow(Deadly):
    """Takes its time in place of dying, while the rows of its device go on."""

    def __call__(self, recipe, compute):
        # From its first telling on more often than every few seconds.
        metrics.EVERY_S = 0.2
        return _Slow(self)


class _Slow(_Source):
    @property
    def rows_run(self):
        return int(1000 * time.monotonic())

    def end(self):
        time.sleep(1.3)


@dataclass(frozen=True)
class Vanishing(Deadly):
    """Deletes a root in place of dying."""

    root: str = ""

    def __call__(self, recipe, compute):
        return _Vanishing(self)


class _Vanishing(_Source):
    def end(self):
        # At once, whatever the other thread is writing there.
        gone = f"{self.deadly.root}-gone"
        os.rename(self.deadly.root, gone)
        shutil.rmtree(gone, ignore_errors=True)


@dataclass(frozen=True)
class Unloadable:
    """A source whose making kills the process, as too little memory does."""

    def __call__(self, recipe, compute):
        os._exit(1)
