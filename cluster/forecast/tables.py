"""A forecast as a person reads it."""

import math
from collections.abc import Callable

from cluster.forecast.acceptance import STATED, Range
from cluster.forecast.forecast import Acceptance, Forecast, Spending
from factory.console.amounts import counted, in_hours, size
from factory.console.say import print_facts, print_table, say

WHAT_IT_DOES_NOT_KNOW = (
    "the rest is taken to be like the pilot: a list in random order, the same recipe, stores and networks "
    "as fast, nodes that are there when asked for; cluster/forecast/README.md says more"
)


def print_forecast(found: Forecast) -> None:
    """Facts and two tables, on stdout."""
    pilot, total, pool = found.pilot, found.total, found.pool
    print_facts(
        {
            "pilot": f"{counted(pilot.triplets, 'triplet')}, {counted(pilot.pairs, 'pair')} of "
            f"{counted(pilot.triplets * pilot.candidates, 'candidate')}, on {pilot.device}",
            "rest": f"{counted(found.triplets, 'triplet')}, {counted(found.units, 'unit')}, "
            f"{counted(found.triplets * pilot.candidates, 'candidate')}",
            "pairs": _shown(found.pairs, lambda n: f"{n:,.0f}"),
            "pairs per triplet": _shown(total.pairs_per_triplet, _number),
            "triplets with a pair": _shown(total.with_pairs, _share),
            "candidates per pair": _shown(total.candidates_per_pair, _number),
            "stored": found.stored and _shown(found.stored, size),
            "workers": f"{pool.workers}, {pool.start_up_s:.0f} s to start, "
            + (
                f"preempted every {in_hours(pool.preempted_every_s / 3600)} on average, told "
                f"{pool.notice_s:.0f} s before"
                if pool.preempted_every_s
                else "never preempted"
            ),
        }
    )
    print_table(
        ("edit kind", "triplets", "accepted", "of the rest", "candidates per pair"),
        [_kind(one) for one in (*found.by_kind, total)],
    )
    print_table(
        ("device", "speed", "device hours", "busy", "hours", "cost", "cost of a pair"),
        [_gpu(one) for one in found.spendings],
    )
    say(f"in brackets: between what it lies with a chance of {STATED:.0%}; {WHAT_IT_DOES_NOT_KNOW}")


def _kind(one: Acceptance) -> tuple[object, ...]:
    return (
        one.kind,
        one.pilot_triplets,
        _share(one.pilot_share),
        f"{_share(one.share.low)} to {_share(one.share.high)}",
        _shown(one.candidates_per_pair, _number),
    )


def _gpu(one: Spending) -> tuple[object, ...]:
    return (
        one.gpu.name,
        f"{one.gpu.speed:.3g}",
        _shown(one.gpu_hours, _number),
        _share(one.busy.middle),
        _shown(one.hours, _number),
        None if one.cost is None else _shown(one.cost, _number),
        None if one.cost_per_pair is None else _shown(one.cost_per_pair, _number),
    )


def _number(value: float) -> str:
    """Three digits of it that say something; no power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-4 else f"{value:.6f}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _shown(one: Range, words: Callable[[float], str]) -> str:
    """The middle, and in brackets the ends."""
    middle, low, high = (
        words(n) if math.isfinite(n) else "?" for n in (one.middle, one.low, one.high)
    )
    return f"{middle} ({low} to {high})"
