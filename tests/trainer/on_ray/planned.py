"""Trainings in which something is done to workers after so many steps, and what they must come to."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.chaos.nodes import children
from tests.trainer.small import objects, small, state_of, train

LAW = {"dtype": "float64", "batch": 8, "steps": 100_000, "learning_rate": 1e-6}
"""So slow that rounding does not grow, while another item would show."""


class Plan(list):
    """The steps that the driver hears of, and what is done once so many came after the thing before."""

    def __init__(self, *acts):
        super().__init__()
        self.acts = list(acts)
        self.began = 0

    def append(self, line):
        super().append(int(line.partition("/")[0].removeprefix("step ")))
        if self.acts and len(self) >= self.began + 3 and self.acts[0]():
            self.acts.pop(0)
            self.began = len(self)

    def rewinds(self):
        """Pairs of a step and the one after which the group went on anew."""
        return [(a, b) for a, b in zip(self, self[1:], strict=False) if b != a + 1]


def stop():
    os.kill(os.getpid(), signal.SIGTERM)
    return True


def workers_of(node):
    """Processes of a group on a node."""
    found = []
    for pid in children(node.all_processes["raylet"][0].process.pid):
        if b"TrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            found.append(pid)
    return found


def all_busy(nodes):
    return all(workers_of(node) for node in nodes.staying())


def losses(out):
    lines = b"".join(objects(out, "progress/").values()).decode().splitlines()
    return {fields["step"]: fields["loss"] for fields in map(json.loads, lines)}


def assert_as_alone(out, dataset, steps, tmp_path):
    """Every step used the items that it has on one worker, and so did all of them together."""
    train(small(law=LAW | {"steps": steps}), dataset, tmp_path / "alone")
    expected = losses(tmp_path / "alone")
    assert sorted(expected) == list(range(1, steps + 1))
    # Steps that were lost left their lines too.
    found = {step: loss for step, loss in losses(out).items() if step <= steps}
    assert found == pytest.approx(expected, rel=1e-9)
    one, other = state_of(tmp_path / "alone", steps), state_of(out, steps)
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-10, msg=name)
