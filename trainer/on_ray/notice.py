"""That a node of the group is to be taken: a checkpoint, and its going is then no failure."""

import time

from ray.train import get_preemption_info

LONGEST_S = 120.0
"""From a notice without a deadline until Ray Train ends the group."""
SLACK_S = 60.0
"""After a deadline, for Ray Train to see that it has passed."""


class Notice:
    """What a worker knows of it."""

    def __init__(self) -> None:
        self._until: float | None = None

    def is_given(self) -> bool:
        """Whether any worker's node has notice; asked by all workers equally often."""
        info = get_preemption_info()
        if info is not None and self._until is None:
            end = time.time() + LONGEST_S if info.deadline_ms is None else info.deadline_ms / 1000
            self._until = end + SLACK_S
        return info is not None

    def outlive(self) -> None:
        """After a failed exchange: where notice was given, wait for Ray Train to end this process.

        Those who are left hear of a lost peer before Ray hears of the lost node, and would be taken to
        have failed by themselves. Returns where nothing ends them, or where no notice was given.
        """
        while self._until is not None and time.time() < self._until:
            time.sleep(1.0)
