"""What Ray Train's controller does with a group of workers, told to the desk; no group ends unstored."""

import time
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    SchedulingState,
    ShuttingDownState,
)

ENDING = (RestartingState, ShuttingDownState)
"""After which the workers are ended: as soon as a node's notice has run out, for one."""
WAITING = (InitializingState, SchedulingState, ReschedulingState, RestartingState)
"""In which no worker is there to be told anything."""
LOOK_EVERY_S = 0.1


class Pause(ControllerCallback):
    """Before a resize, has the workers stop after their step and write where they are; others go on there.

    Ray Train would just end a group that it resizes, and also one whose node's notice has run out, in the
    midst of the checkpoint that was begun on it. Runs in its controller, which looks after the workers only
    when this is done.
    """

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        if isinstance(current_state, ResizingState):
            self._pause()
        elif isinstance(current_state, ENDING):
            self._wait(self.desk.has_stored)
        ray.get(self.desk.set_up.remote(not isinstance(current_state, WAITING)))

    def _pause(self) -> None:
        ray.get(self.desk.ask_to_pause.remote())
        self._wait(self.desk.has_ended)
        ray.get(self.desk.go_on.remote())

    def _wait(self, is_over: Any) -> None:
        """No bound: how long storing takes is the store's; but the dead store nothing more."""
        while not ray.get(is_over.remote()) and self._leader_lives():
            time.sleep(LOOK_EVERY_S)

    def _leader_lives(self) -> bool:
        """Whether Ray still hears of the worker that writes; its training goes on beside this answer."""
        leader = ray.get(self.desk.leader.remote())
        try:
            return leader is not None and bool(ray.get(leader.__ray_ready__.remote()))
        except RayActorError as error:
            return isinstance(error, ActorUnavailableError)
