"""The driver's desk: what the workers of a training tell the driver, and what it asks of them."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from factory.errors import EditmillError, InputError


class Desk:
    """An actor beside the driver; it holds words, and nothing that the training depends on."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._problem: EditmillError | None = None
        self._asked = False
        self._pausing = False
        self._is_up = False
        self._ended = False
        self._stored = True
        self._leader: Any = None
        self._groups = 0

    def say(self, line: str) -> None:
        """A line for the person."""
        self._lines.append(line)

    def take(self) -> list[str]:
        """The lines since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def fail(self, error: EditmillError) -> None:
        """No restart helps against this; the first counts.

        Of a group that came after another: what that one did is there, so it is no longer as if nothing
        had been started.
        """
        if self._groups > 1 and error.exit_code == InputError.exit_code:
            error = EditmillError(str(error))
        self._problem = self._problem or error

    def problem(self) -> EditmillError | None:
        """Why there is nothing to be trained, if so."""
        return self._problem

    def ask_to_stop(self) -> bool:
        """The driver wants the training to end where it stands; whether there are workers to hear it."""
        self._asked = True
        return self._is_up

    def pause(self, is_wanted: bool) -> None:
        """Whether the workers are to end where they stand; others go on there."""
        self._pausing = is_wanted

    def is_asked(self) -> bool:
        """Whether the workers are to end."""
        return self._asked or self._pausing

    def set_up(self, is_up: bool) -> None:
        """Whether a group of workers is there, or nodes are waited for."""
        self._is_up = is_up

    def begin(self, leader: Any) -> None:
        """A group has begun; the actor of its leading worker, who writes."""
        self._groups += 1
        self._ended, self._stored, self._leader = False, True, leader

    def leader(self) -> Any:
        """Of the group that began last; None before the first."""
        return self._leader

    def end(self) -> None:
        """Its leading worker has ended, well and with all stored, or not."""
        self._ended = self._stored = True

    def has_ended(self) -> bool:
        """Whether the group that began last has."""
        return self._ended

    def set_stored(self, is_stored: bool) -> None:
        """Whether the checkpoint that notice of a node has the leading worker write is whole."""
        self._stored = is_stored

    def has_stored(self) -> bool:
        """Whether nothing is written on notice."""
        return self._stored


def open_desk() -> "ray.actor.ActorHandle[Desk]":
    """A desk on the driver's node, so that it lives as long as the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
