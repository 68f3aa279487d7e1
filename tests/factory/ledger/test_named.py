"""Objects around a run: whose they are, whose stand, and what `gc` makes of it."""

import hashlib
from dataclasses import replace
from unittest.mock import patch

import pytest

from factory.errors import ObjectMissing, StorageUnavailable
from factory.ledger import keys, named
from factory.ledger.collect import collect
from factory.ledger.named import intent_of
from factory.ledger.plan import read_plan
from factory.ledger.run import create_run
from factory.ledger.seal import Incomplete
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.commits import Attempt, write_commit
from factory.ledger.units.retries import open_again
from factory.ledger.verify.run import verify
from factory.work.unit import make_unit
from schemas.ledger.run import RetryRecord
from tests.chaos.command import in_ignorance
from tests.chaos.stores.passing_store import PassingStore
from tests.factory.work.test_toy_stage import Shouted, Weak, age

FIRST, LAST = Attempt("0" * 32), Attempt("f" * 32)
"""By their ids."""


@pytest.fixture
def shouted(tmp_path):
    return Shouted(tmp_path)


@pytest.fixture
def weak(shouted, monkeypatch):
    monkeypatch.setattr("factory.work.job.probe", lambda store: Weak())
    return shouted


def outcomes(shouted, unit):
    return shouted.stage.load(shouted.run, None).make(unit, shouted.plan.items(unit))


def other(outcomes):
    """As another machine makes them."""
    return replace(outcomes, objects={key: data + b"!" for key, data in outcomes.objects.items()})


def put_intent(run, unit, objects):
    """What a lost attempt left."""
    run.store.put(keys.data("shout", unit, "e" * 64, "json"), intent_of(objects).bytes)


class Overwriting(PassingStore):
    """A weak place where another writer's objects arrive last at these keys."""

    def __init__(self, inner, late):
        super().__init__(inner)
        self.late = late

    def put_new(self, key, data):
        self.inner.put(key, data)
        return True

    def arrive(self):
        for key, data in self.late.items():
            self.inner.put(key, data)


def begin_weak(weak):
    weak.begin()
    run = weak.run
    run.__dict__["place"] = Overwriting(run.place, {})
    return run


def commit_both(weak, late):
    """Both attempts found nothing at their keys; of the keys `late` the last one's objects stay."""
    run = begin_weak(weak)
    ours = outcomes(weak, 0)
    theirs = other(ours)
    assert write_commit(run, 0, ours, FIRST)
    for key in theirs.objects:
        run.place.delete(key)
    assert write_commit(run, 0, theirs, LAST)
    for key in set(ours.objects) - set(late):
        run.place.inner.put(key, ours.objects[key])
    return run


def test_of_two_attempts_that_overwrote_each_other_the_one_counts_whose_objects_stand(weak):
    run = commit_both(weak, ["line0.txt", "line1.txt", "line2.txt"])
    assert find_commit(run, weak.plan, 0).record.attempt == LAST.name
    assert weak.end().sealed.counts == {"done": 7, "failed": 0}
    assert verify(run).damages == []


def test_where_neither_has_all_its_objects_the_unit_is_made_again_of_what_stands(weak):
    run = commit_both(weak, ["line1.txt"])
    with pytest.raises(ObjectMissing):
        find_commit(run, weak.plan, 0)
    result = weak.end()
    assert (result.units_made, result.sealed.counts) == (3, {"done": 7, "failed": 0})
    assert verify(run).damages == []
    assert weak.files["line1.txt"] == "WORDS 1!"


def test_a_unit_whose_objects_are_overwritten_while_it_commits_stays_open(weak):
    run = begin_weak(weak)
    theirs = other(outcomes(weak, 0))
    # Another attempt, whose commit arrives when this one's does, and whose objects arrive then, too.
    write_commit(run, 0, theirs, LAST)
    run.place.late = dict(list(theirs.objects.items())[:1])
    for key in theirs.objects:
        run.place.delete(key)

    class Maker:
        def make(self, unit, items):
            return outcomes(weak, unit)

    def committed(*arguments):
        won = write_commit(*arguments)
        run.place.arrive()
        return won

    with (
        in_ignorance(),
        patch("factory.work.unit.write_commit", committed),
        pytest.raises(StorageUnavailable, match="overwrote each other's objects"),
    ):
        make_unit(run, weak.plan, 0, Maker())
    assert weak.end().sealed.counts == {"done": 7, "failed": 0}
    assert verify(run).damages == []


def test_garbage_is_told_by_the_attempt_that_counts_not_by_one_that_came_later(weak):
    weak.begin()
    write_commit(weak.run, 0, outcomes(weak, 0), LAST)
    weak.end()
    weak.hush(0)
    write_commit(weak.run, 0, outcomes(weak, 0), FIRST)
    put_intent(weak.run, 0, {"line0.txt": b"WORDS 0"})
    age(weak.out)
    collect(weak.run, weak.plan, delete=True)
    assert weak.files["line0.txt"] == "WORDS 0"
    assert verify(weak.run).damages == []


def test_nothing_around_a_run_is_removed_that_a_retry_may_adopt_by_now(shouted):
    shouted.hush(0, 1)
    shouted.start()
    run, plan = shouted.run, shouted.plan
    objects = {f"line{n}.txt": b"LOST" for n in (0, 1)}
    put_intent(run, 0, objects)
    for key, data in objects.items():
        run.place.put(key, data)
    age(shouted.out)

    class Retried(PassingStore):
        def delete(self, key):
            super().delete(key)
            open_again(run.store, 0, RetryRecord(units=(0,)))

    run.__dict__["place"] = Retried(run.place)
    with pytest.raises(Incomplete):
        collect(run, plan, delete=True)
    assert sorted(objects.keys() & shouted.files.keys()) == ["line1.txt"]


def test_a_reply_that_was_spoilt_is_not_anothers_object(shouted):
    shouted.begin()
    run = shouted.run
    objects = outcomes(shouted, 0).objects
    put_intent(run, 0, objects)

    class Spoiling(PassingStore):
        spoilt = set()

        def get(self, key):
            data = super().get(key)
            if key in self.spoilt:
                return data
            self.spoilt.add(key)
            return data[:3]

    for key, data in objects.items():
        run.place.put(key, data)
    run.__dict__["place"] = Spoiling(run.place)
    assert shouted.end().sealed.counts == {"done": 7, "failed": 0}


@pytest.mark.parametrize("harm", ["lost", "flipped"])
def test_what_was_made_when_a_run_was_sealed_is_verified_and_made_again(shouted, harm):
    shouted.start()
    (made,) = (shouted.out / keys.BESIDE / "finish").iterdir()
    whole = made.read_bytes()
    made.unlink() if harm == "lost" else made.write_bytes(b"?" + whole[1:])
    (damage,) = verify(shouted.run).damages
    assert made.name in damage
    shouted.start()
    assert made.read_bytes() == whole
    assert verify(shouted.run).damages == []


def test_the_store_around_a_run_is_the_one_that_its_own_knows(shouted):
    shouted.begin()
    run = create_run(PassingStore(shouted.run.store), shouted.run.recipe, layout=shouted.run.layout)
    run.place.put("é.txt", b"x")
    assert shouted.files == {"é.txt": "x"}
    assert read_plan(run).units == shouted.plan.units


class OfParts(PassingStore):
    """Counts the bytes of the longest reply."""

    longest = 0

    def get(self, key):
        raise AssertionError("what may be another's is not read whole")

    def get_part(self, key, first, count):
        data = super().get_part(key, first, count)
        self.longest = max(self.longest, len(data))
        return data


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16])
def test_of_what_stands_at_a_key_a_part_is_in_memory(size, shouted, monkeypatch):
    monkeypatch.setattr(named, "PART", 8)
    data = bytes(range(size))
    shouted.begin()
    shouted.run.place.put("big.bin", data)
    place = OfParts(shouted.run.place)
    monkeypatch.setattr(shouted.run, "place", place)
    assert named.hash_at(shouted.run, "big.bin", set()) == hashlib.sha256(data).hexdigest()
    assert place.longest <= 8
    assert named.hash_at(shouted.run, "other.bin", set()) is None
