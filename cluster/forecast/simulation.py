"""Workers that start, take units, are preempted with notice, and commit: a discrete-event simulation.

It follows the rule of the real pool: a worker holds up to `calls` units at once, which share it; after a
notice it takes nothing new; what is in its hands when it ends is lost and made by another from the start.
Times are seconds, and a unit's are those of a worker that makes nothing else.
"""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

Steps = Generator[simpy.Event, Any, None]
NEVER = math.inf
_NOTHING = 1e-6
"""Seconds of work that count as none: what is left by rounding."""


@dataclass(frozen=True)
class Life:
    """A worker's node, from the moment that it is there (and paid for) to the one when it is taken away."""

    begin: float
    end: float = NEVER
    noticed: float = NEVER
    """When it learns of its end: not before `begin`, not after `end`."""


@dataclass
class Outcome:
    """What came of a simulated job."""

    seconds: float = 0.0
    """From its start to its last commit, or to the end of its last worker."""
    committed: list[int] = field(default_factory=list)
    """Units in the order of their commits."""
    times: list[float] = field(default_factory=list, compare=False, repr=False)
    """When each of them was committed."""
    committed_s: float = 0.0
    """Work of what was committed."""
    lost_s: float = 0.0
    """Work on units that were lost with their workers."""
    alive_s: float = 0.0
    """Of all nodes, start-up and waiting included: what is paid for."""
    starts: int = 0
    """Cold starts."""
    ends: int = 0
    """Lives that ended before it was over."""


def simulate(
    work: Sequence[float],
    workers: Iterable[Iterable[Life]],
    start_up_s: float,
    calls: int = 1,
) -> Outcome:
    """Make units of so many seconds each; `workers` are places, each with one life after the other.

    A worker makes nothing in the first `start_up_s` of a life. It is over once every unit is committed, or
    no worker is left: then units stay open.
    """
    job = _Job(work, start_up_s, calls)
    places = [job.env.process(job.place(lives)) for lives in workers]
    if work:
        job.env.run(job.env.any_of([job.over, job.env.all_of(places)]))
    job.outcome.seconds = job.env.now
    job.outcome.alive_s += sum(job.env.now - begin for begin in job.alive.values())
    return job.outcome


class _Job:
    def __init__(self, work: Sequence[float], start_up_s: float, calls: int) -> None:
        self.work = work
        self.start_up_s = start_up_s
        self.calls = calls
        self.outcome = Outcome()
        self.env = simpy.Environment()
        self.open = deque(range(len(work)))
        self.left = len(work)
        self.alive: dict[int, float] = {}
        """When each life began that goes on."""
        self.over = self.env.event()
        """All is committed."""
        self.more = self.env.event()
        """A unit was lost, and may be taken again."""

    def place(self, lives: Iterable[Life]) -> Steps:
        for life in lives:
            if life.begin > self.env.now:
                yield self.env.timeout(life.begin - self.env.now)
            self.outcome.starts += 1
            number = self.outcome.starts
            self.alive[number] = life.begin
            yield from self._live(life)
            del self.alive[number]
            self.outcome.alive_s += life.end - life.begin
            self.outcome.ends += 1

    def _live(self, life: Life) -> Steps:
        """One life, to its end."""
        env, ready = self.env, life.begin + self.start_up_s
        if ready >= life.end:
            yield env.timeout(life.end - env.now)
            return
        yield env.timeout(ready - env.now)
        hand: dict[int, float] = {}
        """Units and the seconds that are left of them."""
        while env.now < life.end:
            takes = env.now < life.noticed
            while takes and self.open and len(hand) < self.calls:
                unit = self.open.popleft()
                hand[unit] = self.work[unit]
            began, each = env.now, len(hand)
            first = began + min(hand.values()) * each if hand else NEVER
            then = min(first, life.noticed if takes else NEVER, life.end)
            yield from self._wait(then, takes and each < self.calls)
            share = (env.now - began) / each if each else 0.0
            for unit in hand:
                hand[unit] -= share
            for unit in [unit for unit, rest in hand.items() if rest <= _NOTHING]:
                del hand[unit]
                self._commit(unit)
        for unit, rest in hand.items():
            self.outcome.lost_s += self.work[unit] - rest
        self.open.extendleft(reversed(hand))
        if hand:
            self.more.succeed()
            self.more = env.event()

    def _wait(self, then: float, may_take: bool) -> Steps:
        """Until a moment, or before it until there is something to take again."""
        events: list[simpy.Event] = []
        if then < NEVER:
            events.append(self.env.timeout(then - self.env.now))
        if may_take:
            events.append(self.more)
        yield events[0] if len(events) == 1 else self.env.any_of(events)

    def _commit(self, unit: int) -> None:
        self.outcome.committed.append(unit)
        self.outcome.times.append(self.env.now)
        self.outcome.committed_s += self.work[unit]
        self.left -= 1
        if not self.left:
            self.over.succeed()


def preempted(rng: np.random.Generator, every_s: float | None, notice_s: float) -> Iterator[Life]:
    """A place whose nodes are taken away after `every_s` on average, at random; None is never.

    The next one is there at once: until it makes units is the start-up.
    """
    begin = 0.0
    while every_s is not None:
        end = begin + float(rng.exponential(every_s))
        yield Life(begin, end, max(begin, end - notice_s))
        begin = end
    yield Life(begin)


def lives_of(counts: Sequence[int], step_s: float, notice_s: float) -> list[Life]:
    """Nodes of a trace that says every `step_s` how many there are.

    Where the count rises nodes begin, where it falls the youngest end, `notice_s` after they were told. The
    youngest, since a node that has not started yet loses least: whoever reads less in a trace starts at
    least so often. Those that are left at the trace's end are cut off without a word.
    """
    lives: list[Life] = []
    begun: list[float] = []
    for number, count in enumerate(counts):
        now = number * step_s
        begun += [now] * (count - len(begun))
        while len(begun) > count:
            begin = begun.pop()
            lives.append(Life(begin, now, max(begin, now - notice_s)))
    end = len(counts) * step_s
    return lives + [Life(begin, end, end) for begin in begun]


def limit_s(lives: Iterable[Life], start_up_s: float) -> float:
    """The most work that any scheduler could do on these nodes: all of their seconds but the start-ups."""
    return sum(max(0.0, life.end - life.begin - start_up_s) for life in lives)
