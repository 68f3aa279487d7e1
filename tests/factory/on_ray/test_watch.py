"""The watch beside a store that does not answer; no cluster is needed for that."""

from collections import Counter

import pytest

from factory.errors import StorageRefused, StorageUnavailable
from factory.on_ray import watch
from factory.on_ray.watch import Watch
from factory.on_ray.witness import Death


def test_job_that_wants_to_stop_does_not_wait_for_a_store_that_is_gone(monkeypatch):
    monkeypatch.setattr(watch, "SETTLE_S", 0.01)
    tries = []

    class Waiting(Watch):
        def __init__(self):
            self._asked = "asked"
            self._unjudged = [(0.0, Death(unit=3, worker="w", node="n"))]

        def _hear(self):
            pass

        def judge(self, death, *, alone):
            tries.append(death.unit)
            # Should it never stop, the test ends with this.
            assert len(tries) < 50
            raise StorageUnavailable("no answer")

    Waiting().settle(lambda: len(tries) == 3)
    assert tries == [3, 3, 3]


def test_a_root_that_is_gone_is_not_asked_again():
    class Refused(Watch):
        def __init__(self):
            self._unjudged = [(0.0, Death(unit=3, worker="w", node="n"))]

        def judge(self, death, *, alone):
            raise StorageRefused("RUN.json is gone")

    with pytest.raises(StorageRefused, match="is gone"):
        Refused()._judge_due()


class Judging(Watch):
    """Judges at once; nothing is asked."""

    def __init__(self):
        self._unjudged = []
        self.deaths = Counter()

    def see(self, *deaths):
        self._unjudged = [(0.0, death) for death in deaths]
        self._judge_due()


UNBORN = Death(unit=None, worker="w", node="n")


def test_workers_that_only_die_are_waited_for_so_often_and_no_longer(monkeypatch):
    monkeypatch.setattr(watch, "node_stays", lambda node: True)
    seen = Judging()
    seen.see(*[UNBORN] * (watch.MOST_STILLBORN - 1))
    assert seen.gives_up() is None
    seen.lives()
    seen.see(*[UNBORN] * (watch.MOST_STILLBORN - 1))
    assert seen.gives_up() is None, "one came to a unit"
    seen.see(UNBORN)
    assert "5 workers' processes died one after the other" in seen.gives_up()
    assert "run the same command to resume" in seen.gives_up()
    assert seen.deaths == {"process": 2 * watch.MOST_STILLBORN - 1}


def test_those_of_nodes_that_leave_do_not_count(monkeypatch):
    monkeypatch.setattr(watch, "node_stays", lambda node: False)
    seen = Judging()
    seen.see(*[UNBORN] * 20)
    assert seen.gives_up() is None
    assert seen.deaths == {"node": 20}
