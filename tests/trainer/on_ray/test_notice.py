"""A lost peer after a node's notice is no failure of those who are left."""

from pathlib import Path
from time import sleep

import pytest
from ray.train import PreemptionInfo

from tests.trainer.small import objects, small, train, write_pairs
from trainer.fit import Fitted
from trainer.on_ray import notice
from trainer.on_ray.notice import LONGEST_S, Notice
from trainer.root.checkpoint import Checkpoints


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(notice, "time", clock)
    return clock


@pytest.fixture
def give(monkeypatch):
    """Have Ray Train say so."""

    def start():
        info = PreemptionInfo(deadline_ms=1_030_000, preempted_node_to_ranks={"a" * 56: [1]})
        monkeypatch.setattr(notice, "get_preemption_info", lambda: info)

    monkeypatch.setattr(notice, "get_preemption_info", lambda: None)
    return start


def test_without_notice_nobody_waits(clock, give):
    one = Notice()
    assert not one.is_given()
    one.outlive()
    assert clock.now == 0


def test_after_notice_ray_has_time_to_end_the_worker(clock, give):
    one = Notice()
    give()
    assert one.is_given()
    one.outlive()
    assert clock.now == LONGEST_S


def lose_peer(*, is_leaving, **_):
    is_leaving()
    raise RuntimeError("Connection reset by peer")


@pytest.mark.parametrize("noticed", [False, True])
def test_a_worker_that_lost_a_peer_raises_at_once_unless_a_node_has_notice(
    clock, give, work, noticed
):
    if noticed:
        give()
    with pytest.raises(RuntimeError, match="reset by peer"):
        work(lose_peer)
    assert (clock.now > 0) is noticed


def test_what_notice_has_the_leader_write_is_stored_before_its_next_step(give, desk, work):
    def act(*, should_stop, is_leaving, **_):
        def told():
            return [words for words in desk.told if words[0] == "set_stored"]

        should_stop()
        assert not is_leaving()
        assert told() == []
        give()
        assert is_leaving()
        assert told() == [("set_stored", False)]
        should_stop()
        assert told()[1:] == [("set_stored", True)]
        return Fitted(1, True, "editor", 0)

    work(act)


def test_no_step_is_taken_before_the_checkpoint_of_a_notice_is_stored(tmp_path, monkeypatch):
    write = Checkpoints.write

    def late(*arguments):
        sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(Checkpoints, "write", late)
    out, stored = tmp_path / "out", []

    def should_stop():
        stored.append([Path(key).stem for key in objects(out, "checkpoints/")])
        return False

    config = small(law={"steps": 4}, watching={"checkpoint_every": 1000})
    given = iter([False, True])
    dataset = write_pairs(tmp_path / "pairs")
    train(config, dataset, out, should_stop=should_stop, is_leaving=lambda: next(given))
    assert stored == [[], [], ["000000002"], ["000000002"]]
