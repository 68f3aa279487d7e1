"""Die at every point of a run, start the same command again: nothing is lost, nothing is twice."""

import pytest

from factory.storage.local import LocalStore
from tests.chaos.command import command
from tests.chaos.crash_points import DEAD, Nursery, WatchedStore, recorded_points
from tests.chaos.memory_store import MemoryStore
from tests.chaos.resume import assert_resumes
from tests.stub_source import StubSource

POINTS = recorded_points()
WRITES = [p for p in POINTS if p.when == "before" and p.call.startswith("put")]


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


def test_points_are_many_and_each_has_one_name():
    assert len({str(point) for point in POINTS}) == len(POINTS)
    assert len({point.call for point in POINTS}) >= 25
    for word in ("RUN.json", "plan/", "make", "pairs/", "commits/", "segments/", "manifest/"):
        assert [point for point in POINTS if word in point.call], word


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_run_killed_here_and_started_again_is_the_undisturbed_one(nursery, tmp_path, point):
    assert nursery.die(tmp_path, point) == DEAD
    assert_resumes(LocalStore(tmp_path))


class Died(BaseException):
    """Not an error: nothing may catch it."""


@pytest.mark.parametrize("point", WRITES, ids=str)
def test_write_that_arrives_when_all_is_over_changes_nothing(point):
    store = MemoryStore()
    late = LateStore(store, point)
    with pytest.raises(Died):
        command(late, StubSource())
    assert_resumes(store)
    before = dict(store.objects)
    late.arrive()
    probes = {key for key in store.objects if key.startswith("probe/")}
    assert {k: v for k, v in store.objects.items() if k not in probes - set(before)} == before


class LateStore(WatchedStore):
    """Its process dies at a write, which is still on its way."""

    def __init__(self, inner, point):
        super().__init__(inner, self.come_to)
        self.point = point
        self.dead = False
        self.write = None

    def come_to(self, here):
        if self.dead:
            raise Died
        if here == self.point:
            self.dead = True
            raise Died

    def put(self, key, data):
        self._remember(self.inner.put, key, data)
        super().put(key, data)

    def put_new(self, key, data):
        self._remember(self.inner.put_new, key, data)
        return super().put_new(key, data)

    def _remember(self, verb, key, data):
        if not self.dead:
            self.write = lambda: verb(key, data)

    def arrive(self):
        self.write()
