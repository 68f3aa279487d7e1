"""`fit` on nodes that come, are given notice and go: nothing is learnt twice or otherwise."""

import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path
from time import sleep

import pytest
import ray
from ray._private import ray_constants
from ray.train import get_context

from factory.on_ray.rows import ClusterFailed
from factory.storage.local import LocalStore
from tests.chaos.nodes import Nodes
from tests.environment import python_path
from tests.trainer.on_ray.planned import LAW, Plan, all_busy, assert_as_alone, stop, workers_of
from tests.trainer.small import objects, small, write_pairs
from trainer.fit import prepare
from trainer.on_ray import fit as on_ray
from trainer.on_ray import workers
from trainer.root.checkpoint import record_key

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent.parent
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


@pytest.fixture
def go(nodes, dataset, tmp_path, monkeypatch):
    """Train by a plan."""

    def look(futures, timeout):
        nodes.take_away()
        return wait(futures, timeout=timeout)

    monkeypatch.setattr(workers, "wait", look)
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(on_ray, "RESIZE_EVERY_S", 3.0)

    def start(plan, failures=0, workers=(1, 2), **watching):
        monkeypatch.setattr(workers, "say", plan.append)
        least, most = workers
        compute = {"where": "ray", "min_workers": least, "max_workers": most, "failures": failures}
        config = small(law=LAW, compute=compute, watching=watching)
        return on_ray.fit_on_ray(*prepare(config, dataset, str(tmp_path / "out")))

    return start


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


def train_beside_a_slow_store(settings):
    """A worker; the leading one tells its node, and once there was notice stores beyond its end."""
    put, around = LocalStore.put, Path(settings["out"]).parent

    def slow(store, key, data):
        if key.startswith("state/") and (around / "noticed").exists():
            (around / "noticed").unlink()
            sleep(2 * NOTICE_S)
        put(store, key, data)

    LocalStore.put = slow
    if get_context().get_world_rank() == 0:
        with (around / "leaders").open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\n")
    return on_ray.train(settings)


def test_a_checkpoint_that_takes_longer_than_the_notice_is_whole(
    nodes, go, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(on_ray, "train", train_beside_a_slow_store)
    nodes.count = 2
    nodes.refill()

    def leaders():
        return (tmp_path / "leaders").read_text().split()

    def give_notice():
        if not all_busy(nodes):
            return False
        (tmp_path / "noticed").touch()
        nodes.count = 1
        nodes.give_notice(next(n for n in nodes.staying() if n.node_id != leaders()[-1]), NOTICE_S)
        plan.groups = len(leaders())
        return True

    def has_restarted():
        return len(leaders()) > plan.groups

    plan = Plan(give_notice, has_restarted, stop)
    fitted = go(plan, failures=0, checkpoint_every=100_000)
    assert not (tmp_path / "noticed").exists()
    assert (plan.acts, plan.rewinds()) == ([], [])
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
    environment = os.environ | {"PYTHONPATH": python_path(), "RAY_ADDRESS": nodes.address}
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
