"""The witness's bookkeeping, without Ray."""

import pytest

from factory.on_ray import witness as module
from factory.on_ray.witness import Death, Silent, Witness


@pytest.fixture
def clock(monkeypatch):
    """Moves only when a test moves it."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_who_is_longer_at_a_unit_than_any_may_be_is_silent(clock):
    witness = Witness({})
    witness.arrive("w", "n", process=11)
    witness.arrive("v", "m", process=12)
    assert witness.silent(0.0) == [], "none is at a unit"
    witness.begin("w", 1, False)
    clock.now += 60
    witness.begin("w", 2, False)
    witness.begin("v", 3, False)
    clock.now += 39
    assert witness.silent(100.0) == []
    clock.now += 1
    assert witness.silent(100.0) == [Silent(1, "w", "n", 11)]
    clock.now += 60
    both = [Silent(1, "w", "n", 11), Silent(2, "w", "n", 11), Silent(3, "v", "m", 12)]
    assert witness.silent(100.0) == both, "until it is dead, however often it is asked"
    assert witness.silent(100.0) == both


def test_a_worker_whose_device_goes_on_is_not_silent_however_long_it_takes(clock):
    witness = Witness({})
    witness.arrive("w", "n", process=11)
    witness.begin("w", 1, False)
    for _ in range(50):
        clock.now += 99
        witness.moves("w")
        witness.moves("one that is dead")
        assert witness.silent(100.0) == []
    clock.now += 100
    assert witness.silent(100.0) == [Silent(1, "w", "n", 11)]


def test_a_unit_that_was_ended_or_whose_process_is_gone_is_not_silent(clock):
    witness = Witness({})
    for number, worker in enumerate(("ended", "left", "buried", "back")):
        witness.arrive(worker, "n", process=number)
        witness.begin(worker, number, False)
    witness.end("ended", 0)
    witness.leave("left")
    witness.bury("buried")
    witness.arrive("back", "n", process=9)
    clock.now += 1e6
    assert witness.silent(100.0) == []
    # It begins anew with each unit.
    witness.begin("back", 3, False)
    clock.now += 99
    assert witness.silent(100.0) == []


def test_worker_that_comes_back_tells_which_units_died_with_it():
    witness = Witness({})
    witness.arrive("w", "n")
    assert witness.begin("w", 1, False)
    assert witness.begin("w", 2, False)
    witness.end("w", 1)
    witness.arrive("w", "m")
    assert witness.hear([]) == [Death(2, "w", "n")]
    assert witness.hear([]) == []


def test_unit_with_two_deaths_is_set_aside_unless_alone():
    witness = Witness({})
    for _ in range(2):
        witness.arrive("w", "n")
        assert witness.begin("w", 7, False)
    witness.arrive("w", "n")
    assert not witness.begin("w", 7, False)
    assert witness.begin("w", 8, False)
    witness.arrive("solo", "n")
    assert witness.begin("solo", 7, True)


def test_forgiven_death_does_not_count():
    witness = Witness({7: 1})
    witness.arrive("w", "n")
    assert witness.begin("w", 7, False)
    witness.arrive("w", "n")
    assert not witness.begin("w", 7, False)
    witness.forgive(7)
    assert witness.begin("w", 7, False)


def test_process_that_leaves_by_itself_is_no_death():
    witness = Witness({})
    witness.arrive("w", "n")
    witness.begin("w", 1, False)
    witness.leave("w")
    witness.arrive("w", "n")
    assert witness.hear([]) == []


def test_nothing_begins_on_a_draining_node():
    witness = Witness({})
    witness.arrive("w", "n")
    witness.arrive("v", "m")
    witness.hear(["n"])
    assert not witness.begin("w", 1, False)
    assert not witness.begin("w", 1, True)
    assert witness.begin("v", 1, False)
    witness.hear([])
    assert witness.begin("w", 2, False)


def test_buried_worker_is_reported_to_the_caller_alone():
    witness = Witness({})
    witness.arrive("solo", "n")
    witness.begin("solo", 3, True)
    assert witness.bury("solo") == [Death(3, "solo", "n")]
    assert witness.bury("solo") == []
    assert witness.hear([]) == []


def test_process_that_came_to_no_unit_is_told_of_when_another_takes_its_place():
    witness = Witness({})
    for _ in range(2):
        witness.arrive("w", "n")
    assert witness.hear([]) == [Death(None, "w", "n")]
    witness.begin("w", 1, False)
    witness.end("w", 1)
    witness.arrive("w", "n")
    assert witness.hear([]) == []
