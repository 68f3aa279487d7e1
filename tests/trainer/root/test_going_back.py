"""Checkpoints that are damaged where only reading shows it: what is written below them stays."""

import pytest

from factory.storage.local import LocalStore
from tests.trainer.root.test_checkpoint import opened, same, tensors
from trainer.root.checkpoint import steps_in


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


def flip_a_byte(store, step):
    """In a file of a checkpoint: its size stays."""
    key = opened(store).record(step).files[0].key
    data = store.get(key)
    store.put(key, data[:-1] + bytes([data[-1] ^ 1]))


def test_damaged_ones_never_cost_what_is_written_after_going_back(store):
    for step in (1000, 1500):
        opened(store).write(step, tensors(step))
        flip_a_byte(store, step)
    found = opened(store)
    assert found.newest() is None
    assert sorted(found.damaged) == [1000, 1500]
    for step in (250, 500, 750):
        found.write(step, tensors(step))
        assert same(opened(store).newest()[1], step)
    assert steps_in(store) == [500, 750, 1000, 1500], "as many whole ones as are kept"
    found.write(1000, tensors(1000))
    assert steps_in(store) == [750, 1000, 1500], "one that is written again is whole"


def test_what_was_just_written_stays_whatever_else_is_there(store):
    for step in (1000, 1500, 250):
        opened(store).write(step, tensors(step))
    assert steps_in(store) == [250, 1000, 1500]
    assert same(opened(store).read(250), 250)
