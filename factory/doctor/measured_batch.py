"""Make one batch as a worker would, and measure it."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from factory.console.amounts import size
from factory.console.progress import Progress
from factory.doctor.finding import Check, Device, Finding, MeasuredSource, ok, warning
from factory.pairs.source import Draw, Made, NotMade
from schemas.recipe import Recipe

PATIENCE_S = 600.0
"""A batch that takes longer is not waited for: by then its speed is known."""
POLL_S = 0.2
TIGHT = 0.9
"""Share of the device's memory from which on a neighbour may break it."""


@dataclass(frozen=True)
class MeasuredBatch:
    """What was made, and how fast."""

    outcomes: list[Made | NotMade]
    """Empty where patience ran out."""
    rows_per_s: float
    """Of a full batch, decoding and scoring included."""
    alone: Made | NotMade | None = None
    """The first candidate, as it came out when it was made without the others."""

    @property
    def made(self) -> list[Made]:
        """Those with pictures."""
        return [one for one in self.outcomes if isinstance(one, Made)]


class Unfinished(Exception):
    """Patience ran out."""


class _Watched:
    """Feeds the source from a thread of its own, so that it can be watched, and left."""

    def __init__(self, source: MeasuredSource, steps: int, patience_s: float) -> None:
        self.source = source
        self.steps = steps
        self.progress = Progress("steps", 2 * steps)
        self.until = time.monotonic() + patience_s

    def rows_per_s(self) -> float:
        """Since `make` was last called."""
        return (self.source.rows_run - self.rows_before) / (time.monotonic() - self.started)

    def make(self, draws: Sequence[Draw]) -> list[Made | NotMade]:
        """Raises `Unfinished`, and whatever the source raises."""
        self.started, self.rows_before = time.monotonic(), self.source.rows_run
        steps_before = self.progress.done
        outcomes: list[Made | NotMade] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                outcomes.extend(self.source.pairs(draws))
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL_S)
            steps = (self.source.rows_run - self.rows_before) // (4 * len(draws))
            while self.progress.done < steps_before + min(steps, self.steps):
                self.progress.advance()
            if thread.is_alive() and time.monotonic() > self.until:
                raise Unfinished
        if errors:
            raise errors[0]
        return outcomes


def make_batch(
    source: MeasuredSource,
    recipe: Recipe,
    draws: Sequence[Draw],
    on: Device,
    patience_s: float = PATIENCE_S,
) -> Check[MeasuredBatch]:
    """One candidate alone, so that everything is warm, then a full batch, which is measured."""
    watched = _Watched(source, recipe.steps, patience_s)
    # Shapes are fixed, so that one candidate alone takes as long as a full batch.
    share = 1 / len(draws)
    try:
        with watched.progress:
            alone = watched.make(draws[:1])[0]
            share = 1.0
            outcomes = watched.make(draws)
            batch = MeasuredBatch(outcomes, watched.rows_per_s(), alone)
    except Unfinished:
        rate = watched.rows_per_s() / share
        hours = 4 * recipe.steps * len(draws) / max(rate, 1e-9) / 3600
        yield warning(
            "speed",
            f"no full batch within {patience_s:.0f} s: {rate:.3g} rows/s, some {hours:.1f} h for "
            "one; not waited for",
            "run on a machine with a GPU, or try --preset miniature",
            rows_per_s=rate,
        )
        return MeasuredBatch([], rate)
    yield _speed(batch, on)
    return batch


def _speed(batch: MeasuredBatch, on: Device) -> Finding:
    peak = on.peak()
    figures = {"rows_per_s": batch.rows_per_s, "peak_bytes": peak}
    words = (
        f"{batch.rows_per_s:.1f} rows/s over {len(batch.outcomes)} candidates; "
        f"peak memory {size(peak)} of {size(on.total)}"
    )
    if peak > TIGHT * on.total:
        remedy = "lower compute.batch_pairs or compute.decode_pairs"
        return warning("speed", f"{words}, nearly all", remedy, **figures)
    return ok("speed", words, **figures)
