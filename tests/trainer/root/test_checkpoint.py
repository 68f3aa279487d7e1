"""Checkpoints: killed at any call of the store, damaged anywhere, the newest whole one is found."""

import time
from collections import Counter
from threading import Lock

import pytest
import torch

from factory.errors import StorageRefused, StorageUnavailable
from factory.storage.local import LocalStore
from factory.storage.patience import READS
from trainer.root import checkpoint as checkpoints
from trainer.root.checkpoint import Checkpoints, record_key, steps_in

LAW, DATASET = "a" * 64, "d" * 64


def tensors(step):
    generator = torch.Generator().manual_seed(step)
    return {f"weight.{i}": torch.randn(6, 4, generator=generator) for i in range(5)}


def same(found, step):
    return found.keys() == tensors(step).keys() and all(
        torch.equal(found[name], value) for name, value in tensors(step).items()
    )


def opened(store, keep=2, law=LAW, dataset=DATASET):
    return Checkpoints(store, law, dataset, keep)


@pytest.fixture(autouse=True)
def _several_files(monkeypatch):
    monkeypatch.setattr(checkpoints, "FILE_BYTES", 200)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


class Killed(BaseException):
    """Not an error that anyone handles."""


class Mortal:
    """A store whose process, all its threads, dies before or after its nth call that changes anything."""

    def __init__(self, store, life, after=False):
        self.store, self.life, self.after = store, life, after
        self.uri = store.uri
        self.lock, self.is_dead = Lock(), False

    def __getattr__(self, name):
        act = getattr(self.store, name)
        if name not in ("put", "put_new", "delete"):
            return act

        def call(*arguments):
            with self.lock:
                self.life -= 1
                acts = not self.is_dead and (self.after or self.life != 0)
                self.is_dead |= self.life == 0
                found = act(*arguments) if acts else None
                if self.is_dead:
                    raise Killed
                return found

        return call


def calls_of_a_third_checkpoint(folder):
    store = LocalStore(folder)
    for step in (1, 2):
        opened(store).write(step, tensors(step))
    counting = Mortal(store, life=0)
    opened(counting).write(3, tensors(3))
    return -counting.life


def test_killed_at_any_call_the_newest_whole_one_is_found_and_the_next_is_written(tmp_path):
    calls = calls_of_a_third_checkpoint(tmp_path / "count")
    assert calls == 3 + 1 + 1 + 3, "files, record, the oldest's record and files"
    for life in range(1, calls + 1):
        for after in (False, True):
            store = LocalStore(tmp_path / f"{life}-{after}")
            for step in (1, 2):
                opened(store).write(step, tensors(step))
            with pytest.raises(Killed):
                opened(Mortal(store, life, after)).write(3, tensors(3))
            step, found = opened(store).newest()
            # The record is the fourth call.
            assert step == (3 if life > 4 or (life == 4 and after) else 2)
            assert same(found, step)
            opened(store).write(4, tensors(4))
            assert same(opened(store).newest()[1], 4)


def test_a_flipped_byte_anywhere_leads_to_the_one_before(store):
    for step in (1, 2):
        opened(store).write(step, tensors(step))
    record = store.get(record_key(2))
    keys = [record_key(2), *(file.key for file in opened(store).record(2).files)]
    for key in keys:
        data = store.get(key)
        for place in range(0, len(data), max(1, len(data) // 40)):
            store.put(key, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            step, found = opened(store).newest()
            assert step == 1, (key, place)
            assert same(found, 1)
        store.put(key, data)
    assert store.get(record_key(2)) == record
    assert opened(store).newest()[0] == 2


@pytest.mark.parametrize("harm", ["missing", "cut", "empty"])
def test_a_missing_or_cut_file_leads_to_the_one_before(store, harm):
    for step in (1, 2):
        opened(store).write(step, tensors(step))
    key = opened(store).record(2).files[1].key
    data = store.get(key)
    store.delete(key)
    if harm != "missing":
        store.put(key, data[: len(data) // 2] if harm == "cut" else b"")
    assert opened(store).newest()[0] == 1


def test_a_damaged_checkpoint_is_written_again_when_its_step_comes_again(store):
    for step in (1, 2):
        opened(store).write(step, tensors(step))
    file = opened(store).record(2).files[0].key
    store.put(record_key(2), b"{}")
    store.put(file, b"rubbish")
    assert opened(store).newest()[0] == 1
    opened(store).write(2, tensors(2))
    assert same(opened(store).newest()[1], 2)


def test_names_mean_nothing(store):
    opened(store).write(1, tensors(1))
    store.put(record_key(9), store.get(record_key(1)))
    store.put("checkpoints/latest.json", b"{}")
    store.put("checkpoints/000000010.json", b"not json")
    assert opened(store).newest()[0] == 1


@pytest.mark.parametrize("other", [{"law": "b" * 64}, {"dataset": "e" * 64}])
def test_records_of_another_law_or_dataset_are_passed_over(store, other):
    opened(store).write(1, tensors(1))
    opened(store, **other).write(2, tensors(2))
    assert opened(store).newest()[0] == 1
    assert opened(store, law="c" * 64).newest() is None


def test_the_newest_few_stay_and_the_files_of_older_ones_go(store):
    for step in range(1, 7):
        opened(store, keep=3).write(step, tensors(step))
    assert steps_in(store) == [4, 5, 6]
    named = {f.key for step in (4, 5, 6) for f in opened(store).record(step).files}
    assert {info.key for info in store.list("state/")} == named


def test_damaged_ones_do_not_count_among_those_that_stay(store):
    for step in (1, 2):
        opened(store).write(step, tensors(step))
    store.delete(opened(store).record(2).files[0].key)
    opened(store).write(3, tensors(3))
    assert steps_in(store) == [1, 2, 3]


def test_a_file_that_two_checkpoints_share_stays(store):
    for step in (1, 2):
        opened(store).write(step, tensors(7))
    opened(store, keep=2).write(3, tensors(7) | {"weight.9": torch.zeros(60)})
    step, found = opened(store).newest()
    assert step == 3
    assert torch.equal(found["weight.0"], tensors(7)["weight.0"])
    assert opened(store).read(2).keys() == tensors(7).keys()


def test_what_killed_workers_left_goes_after_a_day(store, monkeypatch):
    store.put("state/" + "0" * 32 + ".safetensors", b"half of something")
    opened(store).write(1, tensors(1))
    assert len(list(store.list("state/"))) == 4
    later = time.time() + checkpoints.ABANDONED_S + 60
    monkeypatch.setattr(store, "now", lambda: later)
    opened(store).write(2, tensors(2))
    assert len(list(store.list("state/"))) == 6
    assert steps_in(store) == [1, 2]


class Refusing(Mortal):
    """A store whose keys may not delete."""

    def __init__(self, store, error):
        super().__init__(store, 0)
        self.error = error

    def delete(self, key):
        raise self.error("no right to delete")


@pytest.mark.parametrize("error", [StorageRefused, StorageUnavailable])
def test_without_the_right_to_delete_all_stay_and_the_training_goes_on(store, error):
    for step in (1, 2, 3, 4):
        found = opened(Refusing(store, error))
        found.begin(step, tensors(step))
        found.finish()
    assert steps_in(store) == [1, 2, 3, 4]
    assert same(opened(store).newest()[1], 4)


class Late(Mortal):
    """A store that lists what was written one call too late."""

    def list(self, prefix=""):
        return iter(list(self.store.list(prefix))[:-1])


def test_a_late_listing_costs_no_file_of_the_newest(store):
    for step in (1, 2, 3, 4):
        opened(Late(store, 0)).write(step, tensors(step))
    assert same(opened(store).newest()[1], 4)


@pytest.mark.long
def test_a_store_that_gives_no_answer_is_no_reason_to_go_back(store, monkeypatch):
    for step in (1, 2):
        opened(store).write(step, tensors(step))

    def silent(key):
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(checkpoints, "patiently", lambda act: act())
    monkeypatch.setattr(store, "get", silent)
    with pytest.raises(StorageUnavailable):
        opened(store).newest()


def test_an_error_beside_the_training_is_raised_when_it_is_next_asked(store, monkeypatch):
    found = opened(store)

    def full(key, data):
        raise StorageRefused("no right to write")

    monkeypatch.setattr(store, "put", full)
    found.begin(1, tensors(1))
    with pytest.raises(StorageRefused, match="no right to write"):
        found.begin(2, tensors(2))
    found.finish()
    found.close()


@pytest.mark.parametrize("replies", [1, READS - 1])
def test_a_reply_that_was_cut_is_no_reason_to_go_back(store, monkeypatch, replies):
    for step in (1, 2):
        opened(store).write(step, tensors(step))
    get, reads = store.get, Counter()

    def cut(key):
        reads[key] += 1
        return get(key)[: -1 if reads[key] <= replies else None]

    monkeypatch.setattr(store, "get", cut)
    found = opened(store)
    assert same(found.newest()[1], 2)
    assert found.damaged == {}
