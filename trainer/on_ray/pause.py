"""What Ray Train's controller does with a group of workers, told to the desk; a pause before a resize."""

import time
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    SchedulingState,
)

WAITING = (InitializingState, SchedulingState, ReschedulingState, RestartingState)
"""In which no worker is there to be told anything."""
LONGEST_S = 600.0
"""A group that has not stopped by then is taken to be dead, and resized from its newest checkpoint."""
LOOK_EVERY_S = 0.1


class Pause(ControllerCallback):
    """Has the workers stop after their step and write where they are; those that follow go on there.

    Ray Train would just end a group that it resizes. Runs in its controller, which looks after the workers
    only when this is done.
    """

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        if isinstance(current_state, ResizingState):
            self._pause()
        ray.get(self.desk.set_up.remote(not isinstance(current_state, WAITING)))

    def _pause(self) -> None:
        ray.get(self.desk.ask_to_pause.remote())
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end and not ray.get(self.desk.has_ended.remote()):
            time.sleep(LOOK_EVERY_S)
        ray.get(self.desk.go_on.remote())
