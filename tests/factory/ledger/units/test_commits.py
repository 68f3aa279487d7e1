"""The order of writes, and what is true after each kind of answer."""

import pytest

from factory.errors import Damaged, RunMismatch, StorageUnavailable
from factory.ledger import keys
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.units.commits import committed_units, read_commit
from factory.pairs.generate import triplets_of
from factory.storage import patience
from factory.storage.local import LocalStore
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets


class Watched:
    """A local store that notes its calls and can answer badly."""

    def __init__(self, folder):
        self.inner = LocalStore(str(folder))
        self.uri = self.inner.uri
        self.calls = []
        self.answers = []

    def put(self, key, data):
        self.calls.append(("put", key))
        self.inner.put(key, data)

    def put_new(self, key, data):
        self.calls.append(("put_new", key))
        answer = self.answers.pop(0) if key.startswith("commits/") and self.answers else "ok"
        if answer == "lost before":
            raise StorageUnavailable("no answer")
        stored = self.inner.put_new(key, data)
        if answer == "lost after":
            raise StorageUnavailable("no answer")
        return False if answer == "refused after" else stored

    def get(self, key):
        self.calls.append(("get", key))
        return self.inner.get(key)

    def find(self, key):
        return self.inner.find(key)

    def list(self, prefix=""):
        return self.inner.list(prefix)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)


@pytest.fixture
def started(tmp_path):
    store = Watched(tmp_path / "run")
    run = create_run(store, recipe())
    return store, run, write_plan(run, triplets(5), run.recipe.unit_triplets)


def test_pairs_go_before_the_commit_and_nothing_is_written_after_it(started):
    store, run, plan = started
    store.calls.clear()
    generate_unit(run, plan, 0, StubSource())
    writes = [(verb, key.split("/")[0]) for verb, key in store.calls if verb != "get"]
    assert writes == [("put", "pairs"), ("put_new", "commits")]


def test_unit_where_nothing_passes_is_a_single_conditional_put(tmp_path):
    store = Watched(tmp_path / "run")
    run = create_run(store, recipe(thresholds={"image": 1, "text": 1, "direction": 1}))
    plan = write_plan(run, triplets(2), 2)
    store.calls.clear()
    report = generate_unit(run, plan, 0, StubSource())
    assert report.counts["accepted"] == 0
    assert [call for call in store.calls if call[0] != "get"] == [("put_new", keys.commit(0))]


@pytest.mark.parametrize(
    "answers",
    [
        ["lost after"],
        ["refused after"],
        ["lost before"],
        ["lost before", "lost before", "lost after"],
    ],
)
def test_unclear_answer_is_read_back_and_the_attempt_knows_that_it_won(started, answers):
    store, run, plan = started
    store.answers = list(answers)
    report = generate_unit(run, plan, 1, StubSource())
    assert report.made
    assert list(committed_units(store)) == [1]


def test_another_attempts_commit_stands_and_the_late_one_changes_nothing(started):
    store, run, plan = started
    other = {}

    def commit_meanwhile():
        if not other:
            other["busy"] = True
            generate_unit(run, plan, 0, StubSource())
            other["bytes"] = store.get(keys.commit(0))

    report = generate_unit(run, plan, 0, StubSource(on_draw=commit_meanwhile))
    assert not report.made
    assert store.get(keys.commit(0)) == other["bytes"]


def test_store_that_never_answers_leaves_the_unit_open(started):
    store, run, plan = started
    store.answers = ["lost before"] * patience.TRIES
    with pytest.raises(StorageUnavailable):
        generate_unit(run, plan, 0, StubSource())
    assert list(committed_units(store)) == []


def test_committed_unit_is_never_made_again(started):
    _, run, plan = started
    first, second = StubSource(), StubSource()
    generate_unit(run, plan, 0, first)
    report = generate_unit(run, plan, 0, second)
    assert len(first.made) == 24
    assert second.made == []
    assert not report.made


def test_commit_holds_every_candidate_and_its_record(started):
    store, run, plan = started
    generate_unit(run, plan, 2, StubSource())
    commit = read_commit(run, 2)
    assert len(commit.rows) == 12  # the last unit holds one triplet
    assert commit.record.recipe_hash == run.recipe.recipe_hash
    assert commit.record.environment["device"] == "stub"


def test_damaged_commit_is_named(started):
    store, run, plan = started
    generate_unit(run, plan, 0, StubSource())
    path = f"{store.uri}/{keys.commit(0)}"
    data = bytearray(store.get(keys.commit(0)))
    data[len(data) // 3] ^= 1
    with open(path, "wb") as file:
        file.write(data)
    with pytest.raises(Damaged, match="00000000.parquet"):
        read_commit(run, 0)


def test_run_with_another_recipe_is_refused_with_the_fields(started):
    store, run, _ = started
    other = recipe(steps=7, thresholds={"image": 0.5, "text": 0.2, "direction": 0.2})
    with pytest.raises(RunMismatch, match=r"steps: 100 -> 7; thresholds\.borderline.*image"):
        create_run(store, other)
    assert open_run(store).recipe == run.recipe


def test_weights_read_from_another_place_are_the_same_recipe(started):
    store, run, _ = started
    moved = run.recipe.text_to_image.model_copy(update={"source": "elsewhere"})
    create_run(store, run.recipe.model_copy(update={"text_to_image": moved}))


def test_plan_is_written_once_and_another_list_is_refused(started):
    _, run, plan = started
    assert write_plan(run, triplets(5), 2).record == plan.record
    with pytest.raises(RunMismatch, match=r"5 triplets, the list given adds 1; --extend"):
        write_plan(run, triplets(6), 2)
    assert [t for unit in plan.units for t in triplets_of(read_plan(run).items(unit))] == triplets(
        5
    )


def test_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(RunMismatch, match=r"photo\.jpg"):
        create_run(LocalStore(str(tmp_path)), recipe())
