"""What a person sees of a training: lines, files in its store, TensorBoard, Weights & Biases."""

import io
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from PIL import Image

from factory.console.progress import Reached, duration
from factory.errors import StorageError, first_line
from factory.ledger.run import must_stand
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from schemas.training.fit import Law, Watching
from schemas.training.root import RECORD
from trainer.loop import StepReport
from trainer.watching.boards import Board, TensorBoard, WeightsAndBiases

PROGRESS = "progress/"
SHEETS = "sheets/"
RECENT = 100
"""Steps by which the time that is left is reckoned: by their median, which no checkpoint disturbs."""
ENOUGH = 3
"""Steps, before which it is not."""


@dataclass
class Journal:
    """Gathers steps into one report every few; written by the leading worker only."""

    store: ObjectStore
    watching: Watching
    law: Law
    say: Callable[[str], None]
    """Hears each line."""
    _steps: list[StepReport] = field(default_factory=list)
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _waiting: dict[str, bytes] = field(default_factory=dict)
    """Objects that are not yet stored."""
    _boards: list[Board] = field(default_factory=list)
    _events: TensorBoard | None = None
    """One of the boards; the other has no files."""
    _begun: bool = False
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Of the last steps, without the first one of this start, in which all is still cold."""

    def __post_init__(self) -> None:
        if self.watching.tensorboard:
            self._events = TensorBoard(self.store)
            self._boards.append(self._events)
        if self.watching.wandb is not None:
            self._begin_run(self.watching.wandb)

    def _begin_run(self, project: str) -> None:
        try:
            self._boards.append(WeightsAndBiases(project, self.law, self.store.uri))
        except Exception as error:
            # A preempted training must start again whatever that service does.
            self.say(f"Weights & Biases was not reached, and is not told: {first_line(error)}")

    def see(self, report: StepReport) -> None:
        """A step was done."""
        if self._begun:
            self._seconds.append(report.seconds)
        self._begun = True
        self._steps.append(report)
        if report.step % self.watching.report_every == 0 or report.step == self.law.steps:
            self._tell()

    def figure(self, step: int, **figures: float) -> None:
        """Other figures of a step."""
        self._lines.append({"step": step, **figures})
        for board in self._boards:
            board.plot(step, figures)

    def sheet(self, step: int, data: bytes) -> None:
        """A sheet of edits, a PNG file."""
        self._waiting[f"{SHEETS}{step:09d}.png"] = data
        self.store_files()
        with Image.open(io.BytesIO(data)) as sheet:
            for board in self._boards:
                board.show(step, sheet)

    def _tell(self) -> None:
        steps, self._steps = self._steps, []
        last = steps[-1]
        seconds = sum(one.seconds for one in steps)
        figures = {
            "loss": sum(one.loss for one in steps) / len(steps),
            "gradient_norm": last.norm,
            "learning_rate": last.rate,
            "images_per_s": self.law.batch * len(steps) / max(seconds, 1e-9),
        }
        self.figure(last.step, **figures)
        words = f"loss {figures['loss']:.5f}  {figures['images_per_s']:.1f} pairs/s"
        left = self.law.steps - last.step
        if left and len(self._seconds) >= ENOUGH:
            words += f"  {duration(left * median(self._seconds))} left"
        line = f"step {last.step}/{self.law.steps}  {words}"
        self.say(Reached.of(line, last.step, words))

    def store_files(self) -> None:
        """Put what was gathered since the last time beside the checkpoints; what fails waits."""
        if self._lines:
            data = "".join(json.dumps(line) + "\n" for line in self._lines).encode()
            # One step's lines may come in two files within a second.
            key = f"{PROGRESS}{self._lines[0]['step']:09d}-{time.time_ns()}.jsonl"
            self._waiting[key], self._lines = data, []
        try:
            must_stand(self.store, RECORD)
            for key, data in list(self._waiting.items()):
                patiently(partial(self.store.put, key, data))
                del self._waiting[key]
            if self._events is not None:
                self._events.store_files()
        except StorageError as error:
            self.say(f"progress was not stored: {error}")

    def close(self) -> None:
        """The boards, and the last files."""
        try:
            for board in self._boards:
                board.close()
        finally:
            self.store_files()
            if self._events is not None:
                self._events.remove_scratch()
