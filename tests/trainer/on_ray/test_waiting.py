"""A training that waits for nodes can be ended, and a group that has ended is waited for by nobody."""

import os
import signal
from types import SimpleNamespace

import pytest
from ray.train.v2._internal.execution.controller.state import (
    FinishedState,
    ReschedulingState,
    ResizingState,
    RunningState,
)

from factory.errors import EditmillError
from tests.trainer.small import small, write_pairs
from trainer.fit import prepare
from trainer.on_ray import fit as on_ray
from trainer.on_ray import pause
from trainer.on_ray.desk import Desk
from trainer.on_ray.pause import Pause

RUNNING, FINISHED = RunningState(), FinishedState()
RESCHEDULING, RESIZING = ReschedulingState(None), ResizingState(None)


def test_sigterm_ends_a_training_for_which_no_node_is_there(ray_here, tmp_path, monkeypatch):
    looks = []

    def look(desk):
        looks.append(desk)
        if len(looks) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(on_ray, "_pass_on", look)
    monkeypatch.setattr(on_ray, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(on_ray, "joined", lambda compute: compute)
    compute = {"where": "ray", "min_workers": 5, "max_workers": 5}
    config = small(law={"batch": 5}, compute=compute)
    dataset = write_pairs(tmp_path / "pairs")
    with pytest.raises(EditmillError, match="waited for workers; run the same command") as raised:
        on_ray.fit_on_ray(*prepare(config, dataset, str(tmp_path / "out")))
    assert raised.value.exit_code == 3


class NearDesk(Desk):
    """One in this process, asked as an actor is."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return SimpleNamespace(remote=found) if callable(found) else found


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(pause.ray, "get", lambda found: found)
    monkeypatch.setattr(pause, "LONGEST_S", 0.3)
    monkeypatch.setattr(pause, "LOOK_EVERY_S", 0.01)
    return NearDesk()


@pytest.mark.parametrize(
    ("states", "is_heard"),
    [((), False), ((RUNNING,), True), ((RUNNING, RESCHEDULING), False), ((FINISHED,), True)],
    ids=["begun", "running", "lost", "finished"],
)
def test_whether_workers_hear_a_stop_is_known(desk, states, is_heard):
    for state in states:
        Pause(desk).after_controller_state_update(None, state)
    assert desk.ask_to_stop.remote() is is_heard
    assert desk.is_asked.remote()


@pytest.mark.parametrize("ended", [False, True])
def test_a_group_that_had_ended_before_it_was_asked_to_pause_is_not_waited_for(
    desk, monkeypatch, ended
):
    waited = []
    monkeypatch.setattr(pause, "time", SimpleNamespace(monotonic=lambda: len(waited) / 10))
    pause.time.sleep = waited.append
    desk.begin.remote()
    if ended:
        desk.end.remote()
    Pause(desk).after_controller_state_update(RUNNING, RESIZING)
    assert bool(waited) is not ended
    assert not desk.is_asked.remote()


def test_the_next_group_is_waited_for_anew(desk):
    desk.begin.remote()
    desk.end.remote()
    desk.begin.remote()
    assert not desk.has_ended.remote()
