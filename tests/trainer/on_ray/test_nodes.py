"""`fit` on nodes that come, are given notice and go: nothing is learnt twice or otherwise."""

import json
import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path

import pytest
import ray
import torch
from ray._private import ray_constants

from factory.on_ray.rows import ClusterFailed
from tests.chaos.nodes import Nodes, children
from tests.trainer.small import objects, small, state_of, train, write_pairs
from trainer.checkpoint import record_key
from trainer.fit import prepare
from trainer.on_ray import fit as on_ray

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent.parent
LAW = {"dtype": "float64", "batch": 8, "steps": 100_000, "learning_rate": 1e-6}
"""So slow that rounding does not grow, while another item would show."""
NOTICE_S = 10.0
SOONER = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    # Else Ray takes another address of this machine for its own.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


@pytest.fixture(scope="module")
def nodes():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SOONER, "RAY_TMPDIR": ""}.items():
            patch.setenv(name, value)
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        if ray.is_initialized():
            ray.shutdown()
        started = Nodes(1, 1)
        try:
            ray.init(address=started.address, log_to_driver=False, logging_level=logging.ERROR)
            yield started
        finally:
            ray.shutdown()
            started.close()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


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


@pytest.fixture
def go(nodes, dataset, tmp_path, monkeypatch):
    """Train by a plan."""

    def look(futures, timeout):
        nodes.take_away()
        return wait(futures, timeout=timeout)

    monkeypatch.setattr(on_ray, "wait", look)
    monkeypatch.setattr(on_ray, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(on_ray, "RESIZE_EVERY_S", 3.0)

    def start(plan, failures=0, workers=(1, 2), **watching):
        monkeypatch.setattr(on_ray, "say", plan.append)
        least, most = workers
        compute = {"where": "ray", "min_workers": least, "max_workers": most, "failures": failures}
        config = small(law=LAW, compute=compute, watching=watching)
        return on_ray.fit_on_ray(*prepare(config, dataset, str(tmp_path / "out")))

    return start


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


def test_a_group_grows_with_its_nodes_and_shrinks_when_one_dies(nodes, go, dataset, tmp_path):
    def grow():
        # A node that is started takes the signal, as Ray does.
        drain = signal.getsignal(signal.SIGTERM)
        nodes.count = 2
        nodes.refill()
        signal.signal(signal.SIGTERM, drain)
        return True

    def kill_one():
        # Not before both work.
        if not all_busy(nodes):
            return False
        nodes.count = 1
        nodes.kill(nodes.staying()[0])
        return True

    plan = Plan(grow, kill_one, stop)
    fitted = go(plan, failures=3, checkpoint_every=5, keep=1000)
    assert plan.acts == []
    # Growth costs no step, a death those since the last checkpoint.
    assert len(plan.rewinds()) <= 1
    for last, again in plan.rewinds():
        assert record_key(again - 1) in objects(tmp_path / "out", "checkpoints/")
        assert last - 5 < again <= last
    assert_as_alone(tmp_path / "out", dataset, fitted.step, tmp_path)


def test_notice_has_a_checkpoint_written_and_is_no_failure(nodes, go, dataset, tmp_path):
    nodes.count = 2
    nodes.refill()

    earlier = {}

    def give_notice():
        # Not before both work.
        if not all_busy(nodes):
            return False
        # Of a group that began before both nodes were there.
        earlier.update(objects(tmp_path / "out", "checkpoints/"))
        nodes.count = 1
        nodes.give_notice(nodes.staying()[0], NOTICE_S)
        return True

    def has_rewound():
        return bool(plan.rewinds())

    plan = Plan(give_notice, has_rewound, stop)
    fitted = go(plan, failures=0, checkpoint_every=100_000)
    ((last, again),) = plan.rewinds()
    # Nothing else wrote one before the end.
    written = sorted(objects(tmp_path / "out", "checkpoints/").keys() - earlier.keys())
    assert written == [f"checkpoints/{step:09d}.json" for step in (again - 1, fitted.step)]
    assert again > 3
    assert last >= again
    assert_as_alone(tmp_path / "out", dataset, fitted.step, tmp_path)


def test_more_deaths_than_allowed_end_it_and_say_how_to_go_on(nodes, go, tmp_path):
    nodes.refill()

    def kill_worker():
        os.kill(workers_of(nodes.staying()[0])[0], signal.SIGKILL)
        return True

    plan = Plan(kill_worker, kill_worker)
    with pytest.raises(ClusterFailed) as raised:
        go(plan, failures=1, workers=(1, 1), checkpoint_every=2)
    assert raised.value.exit_code == 3
    assert str(raised.value).startswith(
        "workers failed 2 times, and compute.failures is 1; run the same command to go on from the "
        "newest checkpoint. The last: worker 0: "
    )
    assert plan.acts == []
    ((last, again),) = plan.rewinds()
    assert again % 2 == 1
    assert again >= last - 1
    more = Plan(stop)
    assert go(more, workers=(1, 1)).step >= more[0] >= plan[-1] - 1


def test_sigterm_to_the_command_drains_and_the_same_command_resumes(nodes, dataset, tmp_path):
    file = tmp_path / "c.json"
    compute = {"where": "ray"}
    file.write_text(small(law=LAW, compute=compute, pinned=False).model_dump_json())
    command = [sys.executable, "-m", "editmill", "fit", "--dataset", dataset]
    command += ["--out", str(tmp_path / "out"), "--config", str(file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": nodes.address}
    environment["EDITMILL_OPEN_CLUSTER"] = "1"
    ends = []
    for _ in range(2):
        process = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
        try:
            heard = []
            for line in process.stderr:
                if line.startswith("step "):
                    heard.append(int(line.partition("/")[0].removeprefix("step ")))
                if len(heard) == 2:
                    break
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(timeout=120) == 3, rest
        finally:
            process.kill()
            process.wait()
        assert rest.endswith("interrupted; run the same command to resume\n")
        newest = max(objects(tmp_path / "out", "checkpoints/"))
        ends.append((heard[0], int(Path(newest).stem)))
    assert ends[0][0] == 1
    assert ends[1][0] == ends[0][1] + 1
