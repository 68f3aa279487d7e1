"""Extension: a longer list appends a sequence, everything before it stays as it was."""

import threading

import pytest

from factory.errors import RunMismatch
from factory.ledger import keys, lookup
from factory.ledger.manifest import newest_manifest
from factory.ledger.plan import digest, read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.pairs.generate import triplets_of
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from schemas.canonical import canonical_json
from schemas.config import Config
from schemas.triplet import Triplet
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 4)


def run_in(folder):
    store = LocalStore(str(folder))
    return create_run(store, recipe())


def finish(run, plan, source=None):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: source or StubSource()))


@pytest.mark.parametrize("segment", [4, 4096])
@pytest.mark.parametrize("counts", [(5, 6), (6, 20), (5, 9, 27), (1, 2, 3, 30), (8, 16)])
def test_extension_adds_units_and_leaves_those_before_it(tmp_path, monkeypatch, counts, segment):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", segment)
    run = run_in(tmp_path)
    plan = write_plan(run, triplets(counts[0]), 2)
    for count in counts[1:]:
        before = [triplets_of(plan.items(unit)) for unit in plan.units]
        longer = write_plan(run, triplets(count), 2, extend=True)
        assert [triplets_of(longer.items(unit)) for unit in plan.units] == before
        assert [len(triplets_of(longer.items(u))) for u in longer.units] == [
            longer.size(u) for u in longer.units
        ]
        plan = longer
    every = [triplet for unit in plan.units for triplet in triplets_of(plan.items(unit))]
    assert (
        every == triplets(counts[-1]) == [Triplet.model_validate(row) for row in plan.all_items()]
    )
    assert plan.record.digest == digest(triplets(counts[-1]))
    assert plan.record.items == counts[-1]


def test_longer_list_without_extend_is_refused_with_the_hint(tmp_path):
    run = run_in(tmp_path)
    plan = write_plan(run, triplets(5), 2)
    with pytest.raises(RunMismatch, match=r"5 triplets, the list given adds 2; --extend"):
        write_plan(run, triplets(7), 2)
    assert read_plan(run).records == plan.records


@pytest.mark.parametrize("extend", [False, True])
def test_list_that_is_no_superset_is_refused_and_names_the_first_it_lacks(tmp_path, extend):
    run = run_in(tmp_path)
    plan = write_plan(run, triplets(5), 2)
    lacking = [t for t in triplets(9) if t.original_prompt not in ("before 1", "before 3")]
    missing = triplets(5)[1]
    words = rf"5 triplets there, 7 in the list given; it lacks {missing.triplet_id} \('before 1"
    with pytest.raises(RunMismatch, match=words):
        write_plan(run, lacking, 2, extend=extend)
    recoloured = [t.model_copy(update={"edit_kind": "other"}) for t in triplets(5)]
    with pytest.raises(RunMismatch, match=r"\(.before 0 > edit 0.\) another kind"):
        write_plan(run, recoloured, 2, extend=extend)
    assert read_plan(run).records == plan.records


def test_same_list_again_resumes_also_in_another_order_or_with_extend(tmp_path):
    run = run_in(tmp_path)
    plan = write_plan(run, triplets(5), 2)
    for given in (triplets(5), triplets(5)[::-1]):
        for extend in (False, True):
            assert write_plan(run, given, 2, extend=extend).records == plan.records


def test_new_triplets_anywhere_in_the_list_are_appended_in_its_order(tmp_path):
    run = run_in(tmp_path)
    write_plan(run, triplets(9)[3:6], 2)
    plan = write_plan(run, triplets(9), 2, extend=True)
    assert [Triplet.model_validate(row) for row in plan.all_items()] == [
        *triplets(9)[3:6],
        *triplets(9)[:3],
        *triplets(9)[6:],
    ]


class Counted(LocalStore):
    """A store that notes what is fetched of it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.fetched = []

    def get(self, key, *more):
        self.fetched.append(key)
        return super().get(key, *more)


@pytest.fixture
def hashed(monkeypatch):
    """The prompts of the rows that were hashed, in order."""
    prompts = []

    def noted(row):
        if isinstance(row, dict) and "original_prompt" in row:
            prompts.append(row["original_prompt"])
        return canonical_json(row)

    monkeypatch.setattr("factory.ledger.plan.canonical_json", noted)
    return prompts


def test_extension_fetches_no_planned_item_and_hashes_each_once(tmp_path, small_segments, hashed):
    run = run_in(tmp_path)
    write_plan(run, triplets(20), 2)
    write_plan(run, triplets(30), 2, extend=True)
    hashed.clear()
    store = Counted(tmp_path)
    plan = write_plan(open_run(store), triplets(40), 2, extend=True)
    assert plan.record.items == 40
    old = {part.key for head in plan.records[:2] for part in head.parts}
    assert len(old) > 3
    assert not old & set(store.fetched)
    assert hashed == [triplet.original_prompt for triplet in triplets(40)]


def test_extension_by_a_list_in_another_order_fetches_each_file_of_the_plan_once(
    tmp_path, small_segments
):
    write_plan(run_in(tmp_path), triplets(20), 2)
    store = Counted(tmp_path)
    plan = write_plan(open_run(store), triplets(30)[::-1], 2, extend=True)
    assert plan.record.digest == digest([*triplets(20), *triplets(30)[:19:-1]])
    for part in plan.records[0].parts:
        assert store.fetched.count(part.key) == 1


def test_of_two_drivers_that_extend_at_once_one_wins_and_the_other_is_told(tmp_path):
    run = run_in(tmp_path)
    write_plan(run, triplets(5), 2)
    both = threading.Barrier(2)
    answers = []

    class Waiting(LocalStore):
        def put_new(self, key, data):
            if key == keys.plan_head(1):
                both.wait(10)
            return super().put_new(key, data)

    def extend(count):
        try:
            answers.append(write_plan(open_run(Waiting(tmp_path)), triplets(count), 2, extend=True))
        except RunMismatch as error:
            answers.append(error)

    drivers = [threading.Thread(target=extend, args=(count,)) for count in (7, 8)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    told = [answer for answer in answers if isinstance(answer, RunMismatch)]
    won = [answer for answer in answers if not isinstance(answer, RunMismatch)]
    assert (len(told), len(won)) == (1, 1)
    assert "another driver extended" in str(told[0])
    assert read_plan(run).records == won[0].records


def test_two_drivers_that_extend_by_the_same_list_both_go_on(tmp_path):
    run = run_in(tmp_path)
    write_plan(run, triplets(5), 2)

    class Late(LocalStore):
        def put_new(self, key, data):
            LocalStore(self.folder).put_new(key, data)  # the other one, a moment before
            return super().put_new(key, data)

    plan = write_plan(open_run(Late(tmp_path)), triplets(7), 2, extend=True)
    assert plan.records == read_plan(run).records


def test_extended_run_makes_the_new_units_only_and_seals_all(tmp_path, small_segments):
    run = run_in(tmp_path)
    first = finish(run, write_plan(run, triplets(7), 2))
    source = StubSource()
    plan = write_plan(run, triplets(30), 2, extend=True)
    result = finish(run, plan, source)
    made = {triplet_id for triplet_id, _ in source.made}
    assert made == {t.triplet_id for t in triplets(30)[7:]}
    assert not result.sealed.partial
    assert result.sealed.items == 30
    assert result.sealed.plan_digest == plan.record.digest != first.sealed.plan_digest
    assert newest_manifest(run)[0] == 1
    assert verify(run).damages == []


def test_extended_run_equals_one_planned_at_once_where_units_are_full(tmp_path):
    grown, whole = run_in(tmp_path / "grown"), run_in(tmp_path / "whole")
    finish(grown, write_plan(grown, triplets(6), 2))
    result = finish(grown, write_plan(grown, triplets(11), 2, extend=True))
    assert result.manifest_hash == finish(whole, write_plan(whole, triplets(11), 2)).manifest_hash


def test_limit_counts_triplets_over_the_short_last_unit_of_a_sequence(tmp_path):
    run = run_in(tmp_path)
    write_plan(run, triplets(5), 2)
    plan = write_plan(run, triplets(12), 2, extend=True)
    assert [plan.first_units(n).stop for n in (1, 2, 5, 6, 7, 8, 12, 99)] == [
        1,
        1,
        3,
        4,
        4,
        5,
        7,
        7,
    ]


def test_driver_killed_before_the_head_leaves_the_plan_as_it_was(tmp_path):
    run = run_in(tmp_path)
    plan = write_plan(run, triplets(5), 2)
    generate_unit(run, plan, 0, StubSource())

    class Killed(BaseException):
        pass

    class Dying(LocalStore):
        def put_new(self, key, data):
            raise Killed

    with pytest.raises(Killed):
        write_plan(open_run(Dying(tmp_path)), triplets(9), 2, extend=True)
    assert read_plan(run).records == plan.records
    assert write_plan(run, triplets(9), 2, extend=True).units == range(5)


class OfAPlace(list):
    may_lack = True


def test_a_place_that_is_listed_again_may_lack_what_is_planned(tmp_path):
    run = run_in(tmp_path)
    write_plan(run, triplets(5), 2)
    later = triplets(8)[1:4] + triplets(8)[5:]
    with pytest.raises(RunMismatch, match="it lacks"):
        write_plan(run, later, 2, extend=True)
    plan = write_plan(run, OfAPlace(later), 2, extend=True)
    assert [row["original_prompt"] for row in plan.all_items()] == [
        one.original_prompt for one in triplets(8)
    ]
    assert read_plan(run).record.digest == digest(triplets(8))
    assert write_plan(run, OfAPlace(later), 2, extend=True).records == plan.records


def test_names_that_hash_alike_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "_whole", lambda item: hash(item.original_prompt) & 2**63 - 1)
    monkeypatch.setattr(lookup, "hash_of", lambda text: 7)
    run, listed = run_in(tmp_path), triplets(9)
    write_plan(run, listed[3:6], 2)
    plan = write_plan(run, listed, 2, extend=True)
    assert digest(listed[3:6] + listed[:3] + listed[6:]) == plan.record.digest
    with pytest.raises(RunMismatch, match="it lacks"):
        write_plan(run, listed[:5], 2, extend=True)
