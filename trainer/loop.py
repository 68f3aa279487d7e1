"""The training, step by step, on one worker of many or on the only one."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from factory.console.amounts import counted
from factory.errors import EditmillError, InputError
from trainer.feeding.feed import Feed, StepPart
from trainer.feeding.reader import LoadedRow, Reader
from trainer.learning.group import Workplace, silent
from trainer.learning.objective import MicroBatch, Objective
from trainer.learning.order import Order
from trainer.learning.state import State

MOST_NAMED = 8
"""Rows in a message."""


class NotFinite(EditmillError):
    """A loss was no number; the weights are those of the step before."""

    exit_code = 4


@dataclass(frozen=True)
class StepReport:
    """What a step did."""

    step: int
    """Optimiser steps done."""
    loss: float
    """Mean over the step's items."""
    norm: float
    """Of the gradient, before clipping."""
    rate: float
    """Learning rate."""
    seconds: float
    """Since the step before ended."""


@dataclass(eq=False)
class Loop:
    """Everything a worker needs for its part of each step."""

    network: nn.Module
    """May be wrapped for its group; `state` holds the bare one's parameters."""
    state: State
    objective: Objective
    order: Order
    reader: Reader
    at: Workplace
    max_bad: int = 0
    _bad: int = field(default=0, init=False)
    """Unreadable rows that all workers know of."""

    def run(self, until: int, should_stop: Callable[[], bool]) -> Generator[StepReport, None, None]:
        """Steps up to `until`; stops between two where asked to.

        Raises, on all workers at once, `NotFinite`, and `InputError` where more than `max_bad` rows
        could not be read.
        """
        feed = Feed(self.order, self.reader, self.at, self.state.step, until)
        started = time.monotonic()
        with closing(feed):
            while self.state.step < until and not should_stop():
                parts = feed.step()
                rate = self.state.rate()
                loss, norm = self._gradients(parts)
                if not math.isfinite(norm):
                    rows = [one.row for part in parts for one in part.items]
                    raise self._not_finite("gradient", norm, rows)
                self.state.advance()
                now = time.monotonic()
                yield StepReport(self.state.step, loss, norm, rate, now - started)
                started = time.monotonic()

    def _gradients(self, parts: list[StepPart]) -> tuple[float, float]:
        """Backward over this worker's items; the mean loss over all workers', and the gradient's norm, to
        which it is clipped.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.at.device)
        done: list[tuple[list[LoadedRow], Tensor]] = []
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with silent(self.network, not last):
                losses = self._losses(part.batch())
                # Wrapped networks average over workers: each gives its sum over the share.
                (losses.sum() * self.at.group.size / self.at.law.batch).backward()
            total += losses.detach().double().sum()
            done.append((part.items, losses.detach()))
        bad = dict(self.reader.bad)
        sums = self.at.group.sum(torch.stack([total, torch.full_like(total, len(bad) - self._bad)]))
        # The one place of a step that waits for the device.
        summed, unreadable, norm = torch.cat([sums, self.state.clip().to(sums)[None]]).tolist()
        if unreadable:
            self._share_bad(bad)
        loss = summed / self.at.law.batch
        if not math.isfinite(loss):
            each = ((one.row, x) for items, of in done for one, x in zip(items, of, strict=True))
            amiss = [row for row, x in each if not math.isfinite(x)]
            raise self._not_finite("loss", loss, amiss)
        return loss, norm

    def _share_bad(self, bad: dict[int, str]) -> None:
        """All workers know all unreadable rows, so that a row counts once. Raises `InputError`."""
        for rows in self.at.group.gather(bad):
            bad |= rows
        self.reader.bad.update(bad)
        self._bad = len(bad)
        if len(bad) > self.max_bad:
            row = min(bad)
            raise InputError(
                f"dataset: reading.max_bad is {self.max_bad}, got {counted(len(bad), 'row')} with pictures "
                f"that cannot be read; {self.reader.where(row)}: {bad[row]}"
            )

    def _not_finite(self, what: str, value: float, rows: list[int]) -> NotFinite:
        """Made by all workers at once; `rows` are those of this one that may be the cause."""
        found = sorted({row for part in self.at.group.gather(rows) for row in part})
        more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        named = "; ".join(map(self.reader.where, found[:MOST_NAMED]))
        return NotFinite(
            f"step {self.state.step + 1}: {what} must be finite, got {value}; rows of the dataset: "
            f"{named or 'none by itself'}{more}"
        )

    def _losses(self, batch: MicroBatch) -> Tensor:
        enabled = self.at.law.dtype == "bfloat16"
        with torch.autocast(self.at.device.type, dtype=torch.bfloat16, enabled=enabled):
            return self.objective.losses(self.network, batch)
