"""A lost peer after a node's notice is no failure of those who are left."""

import pytest
from ray.train import PreemptionInfo

from trainer.on_ray import fit as on_ray
from trainer.on_ray import notice
from trainer.on_ray.notice import LONGEST_S, Notice


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


@pytest.mark.parametrize("noticed", [False, True])
def test_a_worker_that_lost_a_peer_raises_at_once_unless_a_node_has_notice(
    clock, give, monkeypatch, noticed
):
    def lose_peer(*_, is_leaving, **__):
        is_leaving()
        raise RuntimeError("Connection reset by peer")

    class Desk:
        @property
        def problem(self):
            return self

        say = begin = end = problem

        def remote(self, *_):
            return None

    class Context:
        def get_local_rank(self):
            return 0

    if noticed:
        give()
    monkeypatch.setattr(on_ray, "fit", lose_peer)
    monkeypatch.setattr(on_ray.ray, "get", lambda found: found)
    monkeypatch.setattr(on_ray, "get_context", Context)
    config = '{"law": {"model": {"source": "miniature"}}}'
    with pytest.raises(RuntimeError, match="reset by peer"):
        on_ray.train({"config": config, "desk": Desk(), "dataset": "", "out": ""})
    assert (clock.now > 0) is noticed
