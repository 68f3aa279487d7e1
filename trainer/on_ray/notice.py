"""Notice that a node of the group will be taken away: a checkpoint is written at once, and the loss of
the node counts as no failure.
"""

import time

from ray.train import get_preemption_info

LONGEST_S = 60.0
"""From the loss of a peer until Ray Train has seen that its node is gone."""


class Notice:
    """What a worker knows of it."""

    def __init__(self) -> None:
        self.given = False
        """As it was when last asked."""

    def is_given(self) -> bool:
        """Whether any worker's node has notice; asked by all workers equally often."""
        self.given = self.given or get_preemption_info() is not None
        return self.given

    def outlive(self) -> None:
        """After a failed exchange: where notice was given, wait for Ray Train to end this process.

        Those who are left hear of a lost peer before Ray hears of the lost node, and would be taken to
        have failed by themselves. Returns where nothing ends them, or where no notice was given. Ray
        Train takes a node for preempted from its deadline on: one that goes earlier counts as a failure.
        """
        if self.given:
            time.sleep(LONGEST_S)
