"""Which batch size is the fastest here."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from factory.doctor.finding import Check, Finding, MeasuredSource, ok, skipped, warning
from factory.doctor.measured_batch import MeasuredBatch
from factory.pairs.source import Draw

Steps = Callable[[MeasuredSource, Sequence[Draw]], AbstractContextManager[Callable[[int], float]]]
"""Of a source and draws: inside, the seconds of one denoising step of a full batch of so many pairs."""

PATIENCE_S = 30.0
"""For all sizes; a size of which one step would take longer than what is left is not tried."""
ROUNDS = 5
"""Timed steps of each size, in turn, so that a neighbour's work slows all of them down."""
ENOUGH = 2
"""Rounds, in each of which the configured size must have been the slower one to be warned of."""
SLOW = 0.9
"""Share of the fastest rate below which the configured size is warned of."""


def batch_sizes(
    configured: int,
    batch: MeasuredBatch,
    seconds: Callable[[int], float],
    patience_s: float = PATIENCE_S,
) -> Check[None]:
    """A few steps in batches of 1 pair to twice the configured ones; denoising alone is timed."""
    until = time.monotonic() + patience_s
    # By the full batch's rate until a size is known; the first step of a size also warms it up.
    expected = {n: 4 * n / max(batch.rows_per_s, 1e-9) for n in sizes(configured)}
    times: dict[int, list[float]] = defaultdict(list)
    for round in range(1 + ROUNDS):
        for pairs in list(expected):
            if time.monotonic() + expected[pairs] > until:
                del expected[pairs]
                continue
            try:
                expected[pairs] = seconds(pairs)
            except Exception as error:
                if pairs <= configured or "memory" not in str(error):
                    raise
                # Twice the configured size does not fit, and nobody asked for it.
                del expected[pairs]
                continue
            if round:
                times[pairs].append(expected[pairs])
    yield _finding(configured, times)


def sizes(configured: int) -> list[int]:
    """In the order in which they are worth their time."""
    wanted = (configured, 1, configured // 2, configured // 4, 2 * configured)
    return [n for n in dict.fromkeys(wanted) if n > 0]


def _finding(configured: int, times: dict[int, list[float]]) -> Finding:
    if len(times) < 2 or configured not in times:
        return skipped("batch size", "a step takes too long to try several")
    rates = {n: 4 * n / min(found) for n, found in sorted(times.items())}
    fastest = max(rates, key=lambda n: rates[n])
    words = (
        f"fastest with {fastest} pairs: {rates[fastest]:.1f} rows/s of denoising; "
        f"{', '.join(f'{n}: {rate:.1f}' for n, rate in rates.items())}"
    )
    figures = {"rows_per_s": rates, "fastest": fastest, "configured": configured}
    rounds = [
        slow / configured > fast / fastest
        for slow, fast in zip(times[configured], times[fastest], strict=False)
    ]
    if rates[configured] < SLOW * rates[fastest] and len(rounds) >= ENOUGH and all(rounds):
        share = rates[configured] / rates[fastest]
        remedy = f"--set compute.batch_pairs={fastest} (the same run; pixels may differ in their last bits)"
        return warning(
            "batch size",
            f"{configured} pairs run at {share:.2f} of the best rate; {words}",
            remedy,
            **figures,
        )
    return ok("batch size", words, **figures)
