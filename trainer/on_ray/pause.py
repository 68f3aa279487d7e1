"""What Ray Train's controller does with a group of workers, told to the desk; no group ends unstored."""

import time
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from factory.on_ray.ray_internals import ENDING, RESIZING, WAITING, sign_of_life

LOOK_EVERY_S = 0.1


class Pause:
    """Before a resize, has the workers stop after their step and write where they are; others go on there.

    Ray Train would just end a group that it resizes, and also one whose node's notice has run out, in the
    midst of the checkpoint that was begun on it. Runs in its controller, which looks after the workers only
    when this is done.
    """

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    def changed(self, state: str) -> None:
        """The controller has come to a state, here by the name of Ray's class."""
        if state == RESIZING:
            ray.get(self.desk.pause.remote(True))
            self._wait(self.desk.has_ended)
            ray.get(self.desk.pause.remote(False))
        elif state in ENDING:
            self._wait(self.desk.has_stored)
        ray.get(self.desk.set_up.remote(state not in WAITING))

    def _wait(self, is_over: Any) -> None:
        """Wait without a limit, since how long storing takes depends on the store; but not for a dead
        leader, which stores nothing any more.
        """
        while not ray.get(is_over.remote()) and self._leader_lives():
            time.sleep(LOOK_EVERY_S)

    def _leader_lives(self) -> bool:
        """Whether Ray still hears of the worker that writes; its training goes on beside this answer."""
        leader = ray.get(self.desk.leader.remote())
        try:
            return leader is not None and bool(ray.get(sign_of_life(leader)))
        except RayActorError as error:
            return isinstance(error, ActorUnavailableError)
