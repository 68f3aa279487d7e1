"""A checkpoint's files go a few at a time, each a copy in memory, and its record after them."""

from threading import Barrier
from time import sleep

import pytest

from factory.errors import StorageRefused
from factory.storage.local import LocalStore
from tests.trainer.root.test_checkpoint import opened, same, tensors
from trainer.root import checkpoint as checkpoints
from trainer.root.checkpoint import record_key, steps_in


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Of a file for each tensor, two at a time."""
    monkeypatch.setattr(checkpoints, "FILE_BYTES", 1)
    monkeypatch.setattr(checkpoints, "UPLOADS", 2)
    return LocalStore(tmp_path)


def test_files_meet_on_their_way_but_never_too_many_and_the_record_goes_alone(store, monkeypatch):
    save, put, pair = checkpoints.save, store.put, Barrier(2)
    copies, most, with_record = [], [], []

    def note(part):
        copies.append(part)
        most.append(len(copies))
        return save(part)

    def meet(key, data):
        if key == record_key(1):
            with_record.extend(copies)
        elif key.startswith("state/"):
            # Alone it would wait for ever.
            pair.wait(timeout=20)
            # A third may come meanwhile.
            sleep(0.1)
        put(key, data)
        if key.startswith("state/"):
            copies.pop()

    monkeypatch.setattr(checkpoints, "save", note)
    monkeypatch.setattr(store, "put", meet)
    four = {name: tensor for name, tensor in tensors(1).items() if name != "weight.4"}
    opened(store).write(1, four)
    assert (max(most), with_record) == (2, [])
    assert opened(store).newest()[1].keys() == four.keys()


def test_without_one_of_its_files_there_is_no_record(store, monkeypatch):
    opened(store).write(1, tensors(1))
    put, last = store.put, []

    def full(key, data):
        last.append(key)
        if len(last) == len(tensors(2)):
            raise StorageRefused("no right to write")
        put(key, data)

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(StorageRefused):
        opened(store).write(2, tensors(2))
    assert steps_in(store) == [1]
    assert same(opened(store).newest()[1], 1)
