"""Die at every point of a run, start the same command again: nothing is lost, nothing is twice."""

import pytest

from factory.storage.local import LocalStore
from tests.chaos.command import command
from tests.chaos.crash_points import (
    DEAD,
    Died,
    DyingStore,
    Nursery,
    left_by_death,
    recorded_points,
)
from tests.chaos.memory_store import MemoryStore
from tests.chaos.resume import assert_resumes
from tests.chaos.scenarios import FRESH, SCENARIOS
from tests.stub_source import StubSource

POINTS = recorded_points()
EVERY = 7
"""Of the further scenarios' points, the default run dies at so many-th ones."""
OTHERS = [
    pytest.param(
        scenario,
        point,
        id=f"{scenario}: {point}",
        marks=() if number % EVERY == 0 else pytest.mark.slow,
    )
    for scenario in SCENARIOS
    if scenario != FRESH
    for number, point in enumerate(recorded_points(scenario))
]
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


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_run_killed_here_and_started_again_is_the_undisturbed_one(nursery, tmp_path, point):
    assert nursery.die(tmp_path, point) == DEAD
    assert_resumes(LocalStore(tmp_path))


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "point"), OTHERS)
def test_start_of_any_kind_that_died_here_is_begun_again_as_if_it_had_not(scenario, point):
    assert_resumes(left_by_death(scenario, point), scenario)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario_does_what_it_is_named_for(scenario):
    words = {
        "fresh": ("put_new RUN.json", "put_new manifest/000000.json"),
        "extension": ("put_new plan/000001/plan.json", "put_new manifest/000001.json"),
        "retry": ("put_new retries/", "put_new manifest/000001.json"),
        "poison": ("put_new strikes/", "put_new manifest/000000.json"),
        "snapshot": ("put_new manifest/000000.json",),
        "gc": ("delete pairs/", "delete plan/", "delete manifest/parts/"),
    }
    calls = [point.call for point in recorded_points(scenario)]
    for word in words[scenario.name]:
        assert [call for call in calls if call.startswith(word)], word
    deletes_commits = any(call.startswith("delete commits/") for call in calls)
    assert deletes_commits == (str(scenario) == "gc, sealed")


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


class LateStore(DyingStore):
    """Its process dies at a write, which is still on its way."""

    def __init__(self, inner, point):
        super().__init__(inner, point)
        self.write = None

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
