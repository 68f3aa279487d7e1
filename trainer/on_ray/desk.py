"""The driver's desk: what the workers of a training tell the driver, and what it asks of them."""

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from factory.errors import EditmillError


class Desk:
    """An actor beside the driver; it holds words, and nothing that the training depends on."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._problem: EditmillError | None = None
        self._asked = False

    def say(self, line: str) -> None:
        """A line for the person."""
        self._lines.append(line)

    def take(self) -> list[str]:
        """The lines since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def fail(self, error: EditmillError) -> None:
        """No restart helps against this; the first counts."""
        self._problem = self._problem or error

    def problem(self) -> EditmillError | None:
        """Why there is nothing to be trained, if so."""
        return self._problem

    def ask_to_stop(self) -> None:
        """The driver wants the training to end where it stands."""
        self._asked = True

    def is_asked(self) -> bool:
        """Whether it does."""
        return self._asked


def open_desk() -> "ray.actor.ActorHandle[Desk]":
    """A desk on the driver's node, so that it lives as long as the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
