"""A store on which several writers win one conditional PUT: attempts side by side, one is chosen."""

import threading

import pytest

from factory.errors import ObjectMissing, RunMismatch, StorageRefused
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.manifest import manifest_bytes, newest_manifest, unit_lines
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.ledger.status import status
from factory.ledger.units.attempts import find_commit
from factory.pairs.generate import prepare
from factory.pairs.triplets import TripletList
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from factory.storage.patience import write_once
from schemas.config import Config
from tests.factory.ledger.watched_store import WeakStore
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)


@pytest.fixture
def named(monkeypatch):
    """Attempts get the names that a test wants, in the order it wants."""
    names = []

    class Name:
        def __init__(self):
            self.hex = names.pop(0) * 32

    monkeypatch.setattr("factory.ledger.units.commits.uuid.uuid4", Name)
    return names


class OtherSource(StubSource):
    """Makes other pictures and scores of the same draws, as another kind of GPU might."""

    def pairs(self, draws):
        for outcome in super().pairs(draws):
            if hasattr(outcome, "original"):
                outcome.original[:] = 255 - outcome.original
            yield outcome


def start(folder, count=9, store=WeakStore, commits="sealed"):
    run = create_run(store(str(folder)), recipe(), commits)
    return run, write_plan(run, triplets(count), 2)


def finish(run, plan, source=None):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: source or StubSource()))


def attempts(run, unit):
    return [info.key for info in run.store.list(keys.attempts(unit))]


def test_weak_and_strong_stores_give_the_same_manifest_bytes(tmp_path):
    weak = start(tmp_path / "weak")
    strong = start(tmp_path / "strong", store=LocalStore, commits="conditional")
    sealed = [finish(*one).sealed for one in (weak, strong)]
    assert manifest_bytes(weak[0], sealed[0]) == manifest_bytes(strong[0], sealed[1])
    lines = [list(unit_lines(run, newest_manifest(run)[1])) for run, _ in (weak, strong)]
    assert lines[0] == lines[1]
    assert verify(weak[0]).damages == []
    assert list(weak[0].store.list("commits/000000/00000000.")) == []


def test_twice_made_unit_has_two_attempts_and_the_smaller_id_counts(tmp_path, named):
    run, plan = start(tmp_path)
    named += ["b", "a"]
    generate_unit(run, plan, 0, StubSource())
    # Another worker that began before the first was done.
    blind = Blind(str(tmp_path))
    generate_unit(open_run(blind), plan, 0, OtherSource())
    assert [key[-37:-36] for key in attempts(run, 0)] == ["a", "b"]
    assert find_commit(run, plan, 0).record.attempt == "a" * 32
    assert Book(run, plan).committed()[0] == 1


class Blind(WeakStore):
    """Shows no attempts: for a worker that looked before there were any."""

    def list(self, prefix=""):
        return (info for info in super().list(prefix) if not prefix.startswith("commits/"))


@pytest.mark.parametrize("harm", ["flip the commit", "remove the pairs", "cut the pairs"])
def test_attempt_that_is_not_whole_is_passed_over(tmp_path, named, harm):
    run, plan = start(tmp_path)
    named += ["b", "a"]
    generate_unit(run, plan, 0, OtherSource())
    generate_unit(open_run(Blind(str(tmp_path))), plan, 0, StubSource())
    first = find_commit(run, plan, 0)
    pairs = tmp_path / first.record.data.key
    if harm == "flip the commit":
        path = tmp_path / first.key
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "remove the pairs":
        pairs.unlink()
    else:
        pairs.write_bytes(pairs.read_bytes()[:-1])
    assert find_commit(run, plan, 0).record.attempt == "b" * 32
    named += list("cdef")
    assert finish(run, plan).exit_code == 0


def test_unit_without_a_whole_attempt_is_open_and_made_again(tmp_path):
    run, plan = start(tmp_path)
    generate_unit(run, plan, 0, StubSource())
    (tmp_path / attempts(run, 0)[0]).write_bytes(b"cut")
    with pytest.raises(ObjectMissing, match="no attempt"):
        find_commit(run, plan, 0)
    assert Book(run, plan).committed()[0] == 0
    result = finish(run, plan)
    assert result.units_made == 5
    assert any("not a whole commit" in line for line in verify(run).damages)


def test_attempt_made_with_another_recipe_does_not_count(tmp_path):
    run, plan = start(tmp_path)
    stranger = create_run(WeakStore(str(tmp_path / "other")), recipe(run_seed=3), "sealed")
    generate_unit(stranger, plan, 0, StubSource())
    for info in (*stranger.store.list("pairs/"), *stranger.store.list("commits/")):
        run.store.put(info.key, stranger.store.get(info.key))
    assert len(attempts(run, 0)) == 1
    assert Book(run, plan).committed()[0] == 0


@pytest.mark.parametrize("unit", [0, 4])
def test_choice_is_made_once_whatever_attempt_arrives_after_the_seal(tmp_path, named, unit):
    """Unit 0 lies in a segment that was rolled up, unit 4 in the open one."""
    run, plan = start(tmp_path)
    named += list("bcdef")
    result = finish(run, plan)
    state = status(run, plan)
    named += ["0"]
    generate_unit(open_run(Blind(str(tmp_path))), plan, unit, OtherSource())
    assert len(attempts(run, unit)) == 2
    again = finish(run, plan)
    assert again.manifest_hash == result.manifest_hash
    assert status(run, plan).counts == state.counts
    assert len(list(run.store.list("manifest/0"))) == 1
    assert verify(run).damages == []


def test_choice_of_a_partial_snapshot_stays(tmp_path, named):
    run, plan = start(tmp_path)
    named += ["b"]
    generate_unit(run, plan, 4, StubSource())
    _, snapshot = seal(run, plan, partial=True)
    named += ["a"]
    generate_unit(open_run(Blind(str(tmp_path))), plan, 4, OtherSource())
    (listed,) = unit_lines(run, snapshot)
    assert [line.content for line in Book(run, plan).lines()] == [listed]


def test_what_stands_is_never_written_over_where_every_writer_wins(tmp_path):
    store = WeakStore(str(tmp_path))
    assert write_once(store, keys.RUN, b"first") == b"first"
    assert write_once(store, keys.RUN, b"second") == b"first"


def refuse_to_hash(monkeypatch, store):
    monkeypatch.setattr("factory.pairs.generate.pin", lambda recipe: recipe)
    monkeypatch.setattr("factory.pairs.generate.open_store", lambda uri: store(uri))


def test_probe_decides_the_mode_and_every_later_start_keeps_it(tmp_path, monkeypatch):
    config = Config.model_validate({"recipe": recipe()})
    refuse_to_hash(monkeypatch, WeakStore)
    run, plan = prepare(config, TripletList(triplets(3)), str(tmp_path))
    assert (run.commits, open_run(LocalStore(str(tmp_path))).commits) == ("sealed", "sealed")
    finish(run, plan)
    refuse_to_hash(monkeypatch, LocalStore)  # a probe may find nothing amiss next time
    run, plan = prepare(config, TripletList(triplets(3)), str(tmp_path))
    assert run.commits == "sealed"
    assert finish(run, plan).units_made == 0


def test_run_begun_with_conditional_commits_is_refused_on_a_weak_store(tmp_path, monkeypatch):
    config = Config.model_validate({"recipe": recipe()})
    refuse_to_hash(monkeypatch, LocalStore)
    assert prepare(config, TripletList(triplets(3)), str(tmp_path))[0].commits == "conditional"
    refuse_to_hash(monkeypatch, WeakStore)
    with pytest.raises(StorageRefused, match="lets several win"):
        prepare(config, TripletList(triplets(3)), str(tmp_path))


@pytest.mark.parametrize("what", ["recipe", "list"])
def test_two_different_first_drivers_at_once_are_told_before_anything_is_sealed(tmp_path, what):
    """The race that a weak store leaves: both read back their own bytes, then the later ones stay."""
    ours, plan = start(tmp_path)
    other = recipe(run_seed=8) if what == "recipe" else recipe()
    late = WeakStore(str(tmp_path))
    if what == "recipe":
        scratch = create_run(WeakStore(str(tmp_path / "late")), other, "sealed")
        late.put(keys.RUN, scratch.store.get(keys.RUN))
    else:
        scratch = create_run(WeakStore(str(tmp_path / "late")), other, "sealed")
        write_plan(scratch, triplets(5), 2)
        for info in scratch.store.list("plan/"):
            late.put(info.key, scratch.store.get(info.key))
    with pytest.raises(RunMismatch, match="another driver began this run"):
        finish(ours, plan)
    assert newest_manifest(ours) is None


def test_many_writers_of_one_unit_leave_one_outcome(tmp_path):
    run, plan = start(tmp_path, count=2)
    together = threading.Barrier(4)

    def make():
        blind = open_run(Blind(str(tmp_path)))
        together.wait()
        generate_unit(blind, plan, 0, OtherSource())

    workers = [threading.Thread(target=make) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(attempts(run, 0)) == 4
    result = finish(run, plan)
    assert (result.sealed.units, result.units_made) == (1, 0)
    assert verify(run).damages == []
