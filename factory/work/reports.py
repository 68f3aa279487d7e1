"""What workers say of their units, and what a place to run them must do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.work.stage import Terms


@dataclass(frozen=True)
class UnitReport:
    """A committed unit."""

    unit: int
    counts: dict[str, int]
    """What became of its outcomes."""
    seconds: float
    made: bool
    """False where the unit was committed before, or another attempt won."""
    worker: str = "here"
    """Which worker."""
    gpus: str = ""
    """GPU ids that it holds, joined by commas."""
    peak_rss_mib: float = 0.0
    """Its process's peak memory so far."""
    marks: dict[str, int] = field(default_factory=dict)
    """Outcomes with something to note, such as scores close to a gate."""


@dataclass(frozen=True)
class UnitProblem:
    """A unit that could not be committed; the next start tries it again."""

    unit: int
    message: str
    damaged: bool = False
    """Whether a rerun would find the same, unless `verify --repair` opens the unit again."""


Runner = Callable[
    [Run, Plan, Sequence[int], Terms, Callable[[], bool]], Iterator[UnitReport | UnitProblem]
]
"""Makes units somewhere and reports each as it ends.

It asks the last argument often, at least every few seconds, and ends early once that says True. An
error that no other unit would escape (refused store, wrong weights) is raised.
"""
