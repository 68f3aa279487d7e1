"""The watch beside a store that does not answer; no cluster is needed for that."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from factory.errors import StorageRefused, StorageUnavailable
from factory.on_ray import watch, witness
from factory.on_ray.watch import Watch
from factory.on_ray.witness import Death, Witness
from factory.pairs.generate import generate_stage


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


class Timing(Watch):
    """Knows how long units took; nothing is asked."""

    def __init__(self, stage):
        self.stage = stage


def test_a_worker_is_given_up_after_many_times_the_longest_unit_and_never_before_an_hour():
    seen = Timing(generate_stage(None))
    assert seen.silence_s == 3600, "before any unit is known"
    seen.lives(100)
    assert seen.silence_s == 3600
    seen.lives(400)
    assert seen.silence_s == 8000
    seen.lives(100)
    seen.lives()
    assert seen.silence_s == 8000, "the longest counts, not the last"


@pytest.mark.parametrize(("longest", "silence_s"), [(0.0, 3600), (400.0, 8000)])
def test_a_unit_hangs_once_it_took_longer_than_the_stage_and_the_longest_allow(
    monkeypatch, longest, silence_s
):
    now = [0.0]
    monkeypatch.setattr(witness, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(watch.ray, "get", lambda found: found)
    seen, near = Timing(generate_stage(None)), Witness({})
    seen.witness = SimpleNamespace(silent=SimpleNamespace(remote=near.silent))
    seen.lives(longest)
    near.arrive("w", "n")
    near.begin("w", 3, False)
    now[0] = silence_s - 1
    assert not seen.hangs("w")
    now[0] = silence_s
    assert seen.hangs("w")
    assert not seen.hangs("v")


def test_a_stage_whose_units_are_short_gives_up_sooner():
    seen = Timing(replace(generate_stage(None), silence_s=60.0))
    seen.lives(2)
    assert seen.silence_s == 60
    seen.lives(10)
    assert seen.silence_s == 200


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
