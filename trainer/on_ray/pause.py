"""A checkpoint before Ray Train resizes a group, which it would otherwise just end."""

import time
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ResizingState

LONGEST_S = 600.0
"""A group that has not stopped by then is taken to be dead, and resized from its newest checkpoint."""
LOOK_EVERY_S = 0.1


class Pause(ControllerCallback):
    """Has the workers stop after their step and write where they are; those that follow go on there.

    Runs in Ray Train's controller, which looks after the workers only when this is done.
    """

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        if not isinstance(current_state, ResizingState):
            return
        ray.get(self.desk.ask_to_pause.remote())
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end and not ray.get(self.desk.has_paused.remote()):
            time.sleep(LOOK_EVERY_S)
        ray.get(self.desk.go_on.remote())
