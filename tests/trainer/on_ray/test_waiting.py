"""A training that waits for nodes can be ended, and a group that has ended is waited for by nobody."""

import os
import signal
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError

from factory.errors import EditmillError
from tests.trainer.small import small, write_pairs
from trainer.fit import prepare
from trainer.on_ray import fit as on_ray
from trainer.on_ray import pause, workers
from trainer.on_ray.desk import Desk
from trainer.on_ray.pause import Pause

RUNNING, FINISHED = "RunningState", "FinishedState"
RESCHEDULING, RESIZING = "ReschedulingState", "ResizingState"
RESTARTING, SHUTTING_DOWN = "RestartingState", "ShuttingDownState"


def test_sigterm_ends_a_training_for_which_no_node_is_there(ray_here, tmp_path, monkeypatch):
    looks = []

    def look(desk):
        looks.append(desk)
        if len(looks) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(workers, "_pass_on", look)
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(on_ray, "connect", lambda compute: compute)
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


class Leader:
    """A worker's actor of which Ray hears, or no longer."""

    lives = True

    @property
    def __ray_ready__(self):
        return SimpleNamespace(remote=self.answer)

    def answer(self):
        if not self.lives:
            raise ActorDiedError
        return True


class Clock:
    """Time that passes only in `sleep`; something happens at an hour."""

    def __init__(self, hours, act):
        self.now = 0.0
        self.due, self.act = 3600 * hours, act

    def sleep(self, seconds):
        self.now += seconds
        if self.now >= self.due:
            self.act()


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(pause.ray, "get", lambda found: found)
    monkeypatch.setattr(pause, "LOOK_EVERY_S", 600)
    monkeypatch.setattr(pause, "time", SimpleNamespace(sleep=lambda _: pytest.fail("it waited")))
    return NearDesk()


@pytest.mark.parametrize(
    ("states", "is_heard"),
    [((), False), ((RUNNING,), True), ((RUNNING, RESCHEDULING), False), ((FINISHED,), True)],
    ids=["begun", "running", "lost", "finished"],
)
def test_whether_workers_hear_a_stop_is_known(desk, states, is_heard):
    for state in states:
        Pause(desk).changed(state)
    assert desk.ask_to_stop.remote() is is_heard
    assert desk.is_asked.remote()


def resize(desk):
    Pause(desk).changed(RESIZING)
    assert not desk.is_asked.remote()


def test_a_group_that_had_ended_before_it_was_asked_to_pause_is_not_waited_for(desk):
    desk.begin.remote(Leader())
    desk.end.remote()
    resize(desk)


def test_a_leader_that_stores_for_hours_is_waited_for_until_it_ends(desk, monkeypatch):
    desk.begin.remote(Leader())
    clock = Clock(hours=3, act=desk.end.remote)
    monkeypatch.setattr(pause, "time", clock)
    resize(desk)
    assert clock.now == 3 * 3600


def test_a_leader_that_dies_meanwhile_is_waited_for_no_longer(desk, monkeypatch):
    leader = Leader()
    desk.begin.remote(leader)
    clock = Clock(hours=1, act=lambda: setattr(leader, "lives", False))
    monkeypatch.setattr(pause, "time", clock)
    resize(desk)
    assert clock.now == 3600


def test_before_any_group_nobody_is_waited_for(desk):
    resize(desk)


@pytest.mark.parametrize("state", [RESTARTING, SHUTTING_DOWN], ids=["restarted", "given up"])
@pytest.mark.parametrize("end", ["stored", "ended", "died"])
def test_a_checkpoint_begun_on_notice_outlives_the_notice(desk, monkeypatch, state, end):
    leader = Leader()
    desk.begin.remote(leader)
    desk.set_stored.remote(False)
    acts = {
        "stored": lambda: desk.set_stored.remote(True),
        "ended": desk.end.remote,
        "died": lambda: setattr(leader, "lives", False),
    }
    clock = Clock(hours=1, act=acts[end])
    monkeypatch.setattr(pause, "time", clock)
    Pause(desk).changed(state)
    assert clock.now == 3600


def test_nothing_else_is_waited_for_at_the_end_of_a_notice(desk):
    desk.begin.remote(Leader())
    Pause(desk).changed(RESTARTING)
    desk.set_stored.remote(False)
    desk.begin.remote(Leader())
    Pause(desk).changed(RESTARTING)


def test_the_next_group_is_waited_for_anew(desk):
    desk.begin.remote(Leader())
    desk.end.remote()
    desk.begin.remote(Leader())
    assert not desk.has_ended.remote()
