"""When a pool without strikes is given up; Ray is played."""

from types import SimpleNamespace

import pytest

from factory.on_ray import deaths
from factory.on_ray.deaths import MOST, Deaths
from factory.on_ray.witness import Death


class Played(Deaths):
    """Hears what it is told to."""

    def __init__(self):
        self._of = deaths.Counter()
        self._asked, self._last_look = None, 0.0
        self.told = []
        self.witness = SimpleNamespace(hear=SimpleNamespace(remote=lambda nodes: self.told))

    def hear(self, *told):
        self.told = told
        self._last_look = 0.0
        self.look()


@pytest.fixture
def played(monkeypatch):
    ray = SimpleNamespace(wait=lambda calls, timeout: (calls, []), get=lambda call: call)
    monkeypatch.setattr(deaths, "ray", ray)
    monkeypatch.setattr(deaths, "draining_nodes", set)
    monkeypatch.setattr(deaths, "node_stays", lambda node: node == "n")
    return Played()


@pytest.mark.parametrize(("unit", "said"), [(None, "before they came to a unit"), (7, "at unit 7")])
def test_a_pool_whose_processes_die_again_and_again_is_given_up(played, unit, said):
    for _ in range(MOST - 1):
        played.hear(Death(unit, "w", "n"), Death(unit, "v", "leaving"))
        assert played.gives_up() is None
    played.hear(Death(unit, "w", "n"))
    assert f"{MOST} workers' processes died {said}" in played.gives_up()


def test_a_unit_that_was_made_forgives_what_came_before_it(played):
    for _ in range(3):
        played.hear(*[Death(None, "w", "n")] * (MOST - 1))
        played.lives()
    assert played.gives_up() is None
