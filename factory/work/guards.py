"""What ends a run before its plan is done."""

import time
from collections import Counter
from dataclasses import dataclass, field

from factory import deeds
from factory.work.reports import UnitProblem, UnitReport
from schemas.config import Budget
from schemas.ledger.layout import Layout
from schemas.running.pool import Pool

MOST_LOST = 5
"""Units in a row that may be made in full and lost."""


@dataclass(frozen=True)
class Stop:
    """Why a run stops; `exit_code` 0 where the operator's goal was reached, 4 where a guard said so, 3
    where it can go on once its store can be written.
    """

    reason: str
    exit_code: int


@dataclass
class Guards:
    """Watches the reports of one start."""

    layout: Layout
    budget: Budget
    pool: Pool
    held: int
    """Outcomes of the first kind, kept ones, that the run holds: pairs of `generate`."""
    marks: Counter[str] = field(default_factory=Counter)
    """Of the outcomes that the run holds, where the budget watches them."""
    outcomes: int = 0
    """Made in this start."""
    kept: int = 0
    """Made and kept in this start."""
    started: float = field(default_factory=time.monotonic)
    """By a clock that nobody sets."""
    _lost: int = 0
    """Units in a row that could not be committed."""
    _first_loss: str = ""
    _too_few: str = ""
    _judged: bool = False

    def lose(self, problem: UnitProblem) -> None:
        """Count a unit that could not be committed: on a full disk every further one is made and lost."""
        self._first_loss = self._first_loss if self._lost else problem.message
        self._lost += 1

    def see(self, report: UnitReport) -> None:
        """Count a report; units made by others count for the run, not for this start."""
        self._lost = 0
        kept = report.counts.get(self.layout.counts[0], 0)
        self.held += kept
        self.marks.update(report.marks)
        if report.made:
            deeds.made()
            self.outcomes += sum(report.counts.values())
            self.kept += kept
            self._judge_floor()

    def _judge_floor(self) -> None:
        """Once, when enough candidates were made to tell."""
        if self._judged or self.outcomes < self.budget.floor_after:
            return
        self._judged = True
        share = self.kept / self.outcomes
        if share < self.budget.acceptance_floor:
            self._too_few = (
                f"budget.acceptance_floor: at least {self.budget.acceptance_floor} of "
                f"{self.layout.outcome}s must pass, got {share:.4f} of {self.outcomes}; "
                "are these the right models?"
            )

    def stop(self) -> Stop | None:
        """Whether to stop now; asked often, also while no report comes."""
        budget = self.budget
        if budget.target_pairs is not None and self.held >= budget.target_pairs:
            return Stop(f"target of {budget.target_pairs} pairs reached: {self.held}", 0)
        spent = budget.spent(self.marks)
        if spent is not None:
            return Stop(spent, 4)
        held = self.gpu_hours()
        if budget.max_gpu_hours is not None and held >= budget.max_gpu_hours:
            return Stop(f"budget.max_gpu_hours: {budget.max_gpu_hours} reached: {held:.3f}", 4)
        if budget.deadline is not None and time.time() >= budget.deadline.timestamp():
            return Stop(f"budget.deadline: {budget.deadline.isoformat()} has passed", 4)
        if self._lost >= MOST_LOST:
            reason = (
                f"{self._lost} units in a row could not be committed; first: {self._first_loss}"
            )
            return Stop(
                f"{reason}; what was made before is safe, run the same command to resume", 3
            )
        if self._too_few:
            return Stop(self._too_few, 4)
        return None

    def gpu_hours(self) -> float:
        """Hours times GPUs: an upper bound, all `max_workers` counted from this start's beginning."""
        share = self.pool.gpus_per_worker or 1.0
        return (time.monotonic() - self.started) / 3600 * self.pool.max_workers * share
