"""From a pilot run to the whole job: pairs, units, GPU-hours, money, storage and time, with intervals.

Two things are uncertain and told apart: what is accepted (`acceptance`, by the pilot's triplets) and what a
unit takes (the mean of the pilot's units, by Student's t). What workers make of it is simulated
(`simulation`), each time with other units, another mean and other preemptions.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.forecast.acceptance import DRAWS, STATED, Floats, Range, Rest, rest_of
from cluster.forecast.pilot import Pilot
from cluster.forecast.simulation import Outcome, preempted, simulate
from factory.errors import ConfigError

MOST_UNITS = 10_000
"""Units that are simulated at most, or `EACH_WORKER` for every worker; a longer job goes on like these."""
EACH_WORKER = 20
SIMULATED = 300_000
"""Units in all simulations of one type of GPU."""
FEWEST, MOST = 20, 100
"""Simulations."""
PATIENCE = 3.0
"""Mean lives that a start-up and the units in hand may take; longer ones hardly a worker would reach."""


@dataclass(frozen=True)
class Gpu:
    """A type of GPU, one a worker."""

    name: str
    price: float | None = None
    """Of an hour, in any currency."""
    speed: float = 1.0
    """Times the pilot's."""

    @classmethod
    def read(cls, text: str) -> "Gpu":
        """From `TYPE=PRICE` or `TYPE=PRICE:SPEED`. Raises `ConfigError`."""
        found = re.fullmatch(r"([^=:]+)=([0-9.]+)(?::([0-9.]+))?", text.strip())
        try:
            name, price, speed = found.groups() if found else ("", "", "")
            gpu = cls(name, float(price), 1.0 if speed is None else float(speed))
            if gpu.speed > 0:
                return gpu
        except ValueError:
            pass
        raise ConfigError(
            "--gpu: must be TYPE=PRICE or TYPE=PRICE:SPEED, an hour's price and how many times faster than "
            f"the pilot's, got {text!r}; for example H100=2.5:8"
        )


@dataclass(frozen=True)
class Workforce:
    """Who works on the rest."""

    workers: int = 1
    start_up_s: float = 180.0
    """From the moment that a node is paid for, or the one before it was taken, until it makes units."""
    preempted_every_s: float | None = None
    """A node's life on average; null never ends it."""
    notice_s: float = 120.0


@dataclass(frozen=True)
class Acceptance:
    """What becomes of some triplets that were not made yet."""

    kind: str
    """Their edit kind; `all` of them."""
    pilot_triplets: int
    pilot_share: float
    share: Range
    """Pairs of all candidates."""
    pairs_per_triplet: Range
    with_pairs: Range
    """Triplets with at least one pair, of all triplets."""
    candidates_per_pair: Range


@dataclass(frozen=True)
class Spending:
    """Of the rest on one type of GPU."""

    gpu: Gpu
    gpu_hours: Range
    """Of all nodes while they are there: start-up, lost work and waiting for the last unit included."""
    busy: Range
    """The share of them in which committed units were made."""
    preemptions: Range
    """Nodes that were taken away."""
    hours: Range
    """From the start to the last commit."""
    cost: Range | None
    cost_per_pair: Range | None


@dataclass(frozen=True)
class Forecast:
    """Of a whole job, a pilot's part of it included only where it says so."""

    pilot: Pilot
    captions: int
    pool: Workforce
    total: Acceptance
    by_kind: tuple[Acceptance, ...]
    pairs: Range
    """Of the rest."""
    units: int
    """Of the rest."""
    stored: Range | None
    """Bytes of the rest: pairs and commits; null where the pilot has no pair to measure."""
    spendings: tuple[Spending, ...]

    @property
    def triplets(self) -> int:
        """Of the rest."""
        return self.captions - self.pilot.triplets

    def as_json(self) -> dict[str, Any]:
        """For machines; what has no end is null."""
        pilot = self.pilot
        plain = {
            "run": pilot.uri,
            "chance": STATED,
            "captions": self.captions,
            "pilot": {
                "triplets": pilot.triplets,
                "candidates": pilot.triplets * pilot.candidates,
                "pairs": pilot.pairs,
                "units": len(pilot.unit_s),
                "unit_seconds": sum(pilot.unit_s) / len(pilot.unit_s),
                "calls": pilot.calls,
                "device": pilot.device,
            },
            "rest": {
                "triplets": self.triplets,
                "units": self.units,
                "candidates": self.triplets * pilot.candidates,
                "pairs": self.pairs,
                "stored_bytes": self.stored,
            },
            "pool": self.pool,
            "acceptance": self.total,
            "by_kind": list(self.by_kind),
            "by_gpu": list(self.spendings),
        }
        json: dict[str, Any] = _plain(plain)
        return json


def forecast(pilot: Pilot, captions: int, pool: Workforce, gpus: Sequence[Gpu]) -> Forecast:
    """What the rest of a list of `captions` triplets will take, of which the pilot made a random part.

    Raises `ConfigError` where there is no rest.
    """
    left = captions - pilot.triplets
    if left <= 0:
        raise ConfigError(
            f"--captions: must be more than the pilot's {pilot.triplets} triplets, got {captions}; it is "
            "the length of the whole list"
        )
    rest = rest_of(pilot.kept, pilot.most, left)
    units = -(-left // pilot.unit_triplets)
    stored = None
    if pilot.pair_bytes is not None:
        stored = Range.of(rest.pairs * pilot.pair_bytes + units * pilot.unit_bytes)
    by_kind = []
    for kind in sorted(set(pilot.kinds)):
        kept = pilot.of_kind(kind)
        ahead = max(1, round(left * len(kept) / pilot.triplets))
        by_kind.append(_acceptance(kind, kept, rest_of(kept, pilot.most, ahead), pilot))
    return Forecast(
        pilot=pilot,
        captions=captions,
        pool=pool,
        total=_acceptance("all", pilot.kept, rest, pilot),
        by_kind=tuple(by_kind),
        pairs=Range.of(rest.pairs),
        units=units,
        stored=stored,
        spendings=tuple(_spending(pilot, units, pool, gpu, rest) for gpu in gpus),
    )


def _acceptance(kind: str, kept: Sequence[int], rest: Rest, pilot: Pilot) -> Acceptance:
    share = Range.of(rest.pairs).times(1 / (rest.triplets * pilot.candidates))
    return Acceptance(
        kind=kind,
        pilot_triplets=len(kept),
        pilot_share=sum(kept) / (len(kept) * pilot.candidates),
        share=share,
        pairs_per_triplet=share.times(pilot.candidates),
        with_pairs=Range.of(rest.with_pairs).times(1 / rest.triplets),
        candidates_per_pair=share.under(1.0),
    )


def _spending(pilot: Pilot, units: int, pool: Workforce, gpu: Gpu, rest: Rest) -> Spending:
    rng = np.random.default_rng(0)
    took = np.array(pilot.unit_s) / gpu.speed
    simulated = min(units, max(MOST_UNITS, EACH_WORKER * pool.workers))
    scales = _scales(took, min(MOST, max(FEWEST, SIMULATED // simulated)), rng)
    _must_end(pool, float(took.max() * scales.max() * pilot.calls))
    seconds, alive, busy, taken = np.empty((4, len(scales)))
    for number, scale in enumerate(scales):
        work = (rng.choice(took, simulated) * scale).tolist()
        places = (
            preempted(np.random.default_rng([number, place]), pool.preempted_every_s, pool.notice_s)
            for place in range(min(pool.workers, simulated))
        )
        outcome = simulate(work, places, pool.start_up_s, pilot.calls)
        seconds[number] = _whole_s(outcome, units)
        # Every place has a node until the last commit.
        longer = seconds[number] / (outcome.seconds or 1.0)
        alive[number] = outcome.alive_s * longer
        busy[number] = sum(work) * units / simulated / (alive[number] or 1.0)
        taken[number] = outcome.ends * longer
    hours = Range.of(alive / 3600)
    cost = per_pair = None
    if gpu.price is not None:
        cost = per_pair = hours.times(gpu.price)
        if cost.low:
            # Both are told by one pilot, but one does not tell the other.
            per_pair = Range.of(rest.pairs / rng.choice(alive / 3600 * gpu.price, DRAWS)).under(1)
    return Spending(
        gpu=gpu,
        gpu_hours=hours,
        busy=Range.of(busy),
        preemptions=Range.of(taken),
        hours=Range.of(seconds / 3600),
        cost=cost,
        cost_per_pair=per_pair,
    )


def _whole_s(outcome: Outcome, units: int) -> float:
    """Until the last of all units, of which the first were simulated: the others take as long as those in
    the middle did, since beginning and end are there once.
    """
    times = outcome.times
    first, last = len(times) // 4, 3 * len(times) // 4
    more = units - len(times)
    return outcome.seconds + (more * (times[last] - times[first]) / (last - first) if more else 0.0)


def _must_end(pool: Workforce, longest_s: float) -> None:
    """Raises `ConfigError` where nodes live so short that units would be made and lost for ever."""
    every = pool.preempted_every_s
    if every is not None and PATIENCE * every < pool.start_up_s + longest_s:
        raise ConfigError(
            f"--preempted-every: must be at least {1 / PATIENCE:.2g} of a start-up and what a worker has "
            f"in hand ({pool.start_up_s + longest_s:.0f} s at worst), got {every:.0f} s; make smaller "
            "units (recipe.unit_triplets), or a longer pilot that tells better what they take"
        )


def _scales(took: Floats, times: int, rng: np.random.Generator) -> Floats:
    """What the mean of all units may be, times the pilot's mean, in equal steps of chance.

    By Student's t of the units that were seen; never less than the least of them.
    """
    mean, error = took.mean(), took.std(ddof=1) / math.sqrt(len(took))
    if not mean:
        return np.ones(times)
    # What lies further out moves no interval, and of few units might be anything.
    chances = np.clip((np.arange(times) + 0.5) / times, 0.02, 0.98)
    draws = np.quantile(rng.standard_t(len(took) - 1, 20_000), chances, method="hazen")
    scales: Floats = np.maximum(mean + draws * error, took.min()) / mean
    return scales


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
