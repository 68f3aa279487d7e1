"""What a person sees of a training: lines, files in its store, TensorBoard, Weights & Biases."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.errors import StorageError
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from schemas.fit import Watching
from trainer.loop import StepReport

PROGRESS = "progress/"


@dataclass
class Watch:
    """Gathers steps into one report every few; written by the leading worker only."""

    store: ObjectStore
    watching: Watching
    until: int
    batch: int
    say: Callable[[str], None]
    """Hears each line."""
    events: Path | None = None
    """Where TensorBoard's files go; null writes none."""
    _steps: list[StepReport] = field(default_factory=list)
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _boards: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.events is not None and self.watching.tensorboard:
            from tensorboardX import SummaryWriter

            self._boards.append(SummaryWriter(str(self.events)))
        if self.watching.wandb is not None:
            self._boards.append(_Wandb(self.watching.wandb))

    def see(self, report: StepReport) -> None:
        """A step was done."""
        self._steps.append(report)
        if report.step % self.watching.report_every == 0 or report.step == self.until:
            self._tell()

    def figure(self, step: int, **figures: float) -> None:
        """Other figures of a step."""
        self._lines.append({"step": step, **figures})
        self._plot(step, figures)

    def _tell(self) -> None:
        steps, self._steps = self._steps, []
        last = steps[-1]
        seconds = sum(one.seconds for one in steps)
        figures = {
            "loss": sum(one.loss for one in steps) / len(steps),
            "gradient_norm": last.norm,
            "learning_rate": last.rate,
            "images_per_s": self.batch * len(steps) / max(seconds, 1e-9),
        }
        self.figure(last.step, **figures)
        left = (self.until - last.step) * seconds / len(steps)
        self.say(
            f"step {last.step}/{self.until}  loss {figures['loss']:.5f}  "
            f"{figures['images_per_s']:.1f} pairs/s  {_duration(left)} left"
        )

    def _plot(self, step: int, figures: dict[str, float]) -> None:
        for board in self._boards:
            for name, value in figures.items():
                board.add_scalar(name, value, step)

    def store_lines(self) -> None:
        """Put what was gathered since the last time beside the checkpoints."""
        if not self._lines:
            return
        first, lines = self._lines[0]["step"], self._lines
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        key = f"{PROGRESS}{first:09d}-{int(time.time())}.jsonl"
        try:
            patiently(lambda: self.store.put(key, data))
        except StorageError as error:
            self.say(f"progress was not stored: {error}")
            return
        self._lines = []

    def close(self) -> None:
        """The last lines, and the boards."""
        self.store_lines()
        for board in self._boards:
            board.close()


class _Wandb:
    """Weights & Biases with TensorBoard's two verbs."""

    def __init__(self, project: str) -> None:
        import wandb

        self.run = wandb.init(project=project)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.run.log({name: value}, step=step)

    def close(self) -> None:
        self.run.finish()


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
