"""Die at every point of a run, start the same command again: nothing is lost, nothing is twice."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from factory.errors import ObjectMissing
from tests.chaos.deaths.crash_points import (
    DEAD,
    Died,
    DyingStore,
    Nursery,
    Point,
    left_by_death,
    recorded_points,
    run_in,
    watched_start,
)
from tests.chaos.deaths.resume import assert_resumes
from tests.chaos.deaths.scenarios import FRESH, SCENARIOS, Scenario
from tests.chaos.stores.passing_store import PassingStore
from tests.chaos.subjects.captioning import PaidTwice
from tests.chaos.subjects.subject import STAGES

EVERY = {stage: 7 if stage == "generate" else 29 for stage in STAGES}
"""Of the further scenarios' points, the long run dies at so many-th ones: the ledger is one, and `generate`
walks over its code.
"""
PARTS = {stage: 5 if stage == "generate" else 15 for stage in STAGES}
"""Tests into which the points of a new run are dealt; odd, for before and after a call take turns."""
DEALT = {stage: 5 if stage == "generate" else 1 for stage in STAGES}
"""Parts that are not slow: all of `generate`; the ledger is one, and the others' makers start a decoder."""
OTHERS = [one for one in SCENARIOS if one not in FRESH.values()]


@contextmanager
def noted(point: Point) -> Iterator[None]:
    """Whatever goes wrong says where the run had died."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"after a death {point}")
        raise


def assert_resumes_after(scenario: Scenario, points: Sequence[Point]) -> None:
    """Dies at each point by an exception."""
    assert points
    for point in points:
        with noted(point):
            assert_resumes(left_by_death(scenario, point), scenario)


@pytest.mark.parametrize("stage", STAGES)
def test_points_are_many_and_each_has_one_name(stage):
    points = recorded_points(FRESH[stage])
    assert len({str(point) for point in points}) == len(points)
    assert len({point.call for point in points}) >= 25
    folder = FRESH[stage].subject.folder_of_data
    for word in ("RUN.json", "plan/", "make", folder, "commits/", "segments/", "manifest/"):
        assert [point for point in points if word in point.call], word


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "part"),
    [
        pytest.param(stage, part, marks=pytest.mark.slow if part >= DEALT[stage] else ())
        for stage in STAGES
        for part in range(PARTS[stage])
    ],
)
def test_run_killed_anywhere_and_started_again_is_the_undisturbed_one(stage, part, tmp_path):
    with Nursery(stage) as nursery:
        for number, point in enumerate(recorded_points(FRESH[stage])[part :: PARTS[stage]]):
            folder = tmp_path / str(number)
            with noted(point):
                assert nursery.die(folder, point) == DEAD
                assert_resumes(run_in(folder), FRESH[stage])


@pytest.mark.long
@pytest.mark.parametrize("scenario", OTHERS, ids=str)
def test_start_of_any_kind_that_died_is_begun_again_as_if_it_had_not(scenario):
    assert_resumes_after(scenario, recorded_points(scenario)[:: EVERY[scenario.stage]])


@pytest.mark.slow
@pytest.mark.parametrize("scenario", OTHERS, ids=str)
def test_start_of_any_kind_that_died_at_any_other_point(scenario):
    points, every = recorded_points(scenario), EVERY[scenario.stage]
    assert_resumes_after(scenario, [p for n, p in enumerate(points) if n % every])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario_does_what_it_is_named_for(scenario):
    folder = scenario.subject.folder_of_data
    words = {
        "fresh": ("put_new RUN.json", "put_new manifest/000000.json"),
        "extension": ("put_new plan/000001/plan.json", "put_new manifest/000001.json"),
        "retry": ("put_new retries/", "put_new manifest/000001.json"),
        "poison": ("put_new strikes/", "put_new manifest/000000.json"),
        "snapshot": ("put_new manifest/000000.json",),
        "gc": (f"delete {folder}", "delete plan/", "delete manifest/parts/"),
    }
    calls = [point.call for point in recorded_points(scenario)]
    for word in words[scenario.name]:
        assert [call for call in calls if call.startswith(word)], word
    deletes_commits = any(call.startswith("delete commits/") for call in calls)
    assert deletes_commits == ((scenario.name, scenario.commits) == ("gc", "sealed"))


@pytest.mark.parametrize("stage", ["generate", pytest.param("encode", marks=pytest.mark.long)])
def test_write_that_arrives_when_all_is_over_changes_nothing(stage):
    points = recorded_points(FRESH[stage])
    for point in (p for p in points if p.when == "before" and p.call.startswith("put")):
        store = FRESH[stage].store()
        late = LateStore(store, point)
        with noted(point):
            with pytest.raises(Died):
                watched_start(late, FRESH[stage])
            assert_resumes(store, FRESH[stage])
            before = dict(store.objects)
            late.arrive()
            probes = {key for key in store.objects if key.startswith("probe/")}
            left = {k: v for k, v in store.objects.items() if k not in probes - set(before)}
            assert left == before


def test_request_that_is_sent_although_its_reply_is_stored_is_found(monkeypatch):
    scenario = FRESH["captions"]
    points = recorded_points(scenario)
    stored = next(p for p in points if p.when == "after" and p.call.startswith("put_new replies/"))
    assert_resumes(left_by_death(scenario, stored), scenario)
    left = left_by_death(scenario, stored)

    def blind(*arguments):
        raise ObjectMissing("nowhere")

    monkeypatch.setattr("factory.captions.replies.read_whole", blind)
    with pytest.raises(PaidTwice, match="was stored, and is asked for again"):
        assert_resumes(left, scenario)


class LateStore(DyingStore):
    """Its process dies at a write, which is still on its way."""

    def __init__(self, inner, point):
        super().__init__(inner, point)
        self.write = None

    def put(self, key, data):
        self._remember(PassingStore(self.inner).put, key, data)
        super().put(key, data)

    def put_new(self, key, data):
        self._remember(PassingStore(self.inner).put_new, key, data)
        return super().put_new(key, data)

    def _remember(self, verb, key, data):
        if not self.dead:
            self.write = lambda: verb(key, data)

    def arrive(self):
        self.write()
