"""Every kind of stored object, every kind of harm: verify finds all that was planted."""

import re
import shutil

import pytest

from factory.errors import Damaged
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.units.attempts import find_commit
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from tests.factory.ledger.damage import (
    WRONG,
    eventful,
    finish,
    flips,
    objects,
    removals,
    unknowable,
)
from tests.factory.ledger.watched_store import NotedStore, WeakStore
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets

SEGMENT = 2


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", SEGMENT)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    before, keys.SEGMENT_UNITS = keys.SEGMENT_UNITS, SEGMENT
    eventful(folder)
    keys.SEGMENT_UNITS = before
    return folder


@pytest.fixture
def run(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "run")
    return open_run(LocalStore(str(tmp_path / "run")))


def test_eventful_run_is_whole(run):
    found = verify(run)
    assert found.damages == []
    assert (found.units, found.open_units, found.sealed) == (7, 0, True)
    folders = {key.split("/")[0] for key in objects(run.uri)}
    assert folders == {
        *("RUN.json", "plan", "pairs", "commits", "segments", "manifest", "strikes", "retries"),
        "scores",
        "README.md",
    }


@pytest.mark.long
def test_every_flipped_byte_in_every_object_is_found(run, tmp_path):
    assert [harm for harm in flips(tmp_path / "run") if not verify(run).damages] == []
    assert verify(run).damages == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["RUN.json", "plan/000001/plan.json", "manifest/000002.json"])
def test_every_single_byte_of_a_small_record_is_guarded(run, tmp_path, name):
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    verify_heads = {
        "RUN.json": lambda: open_run(run.store),
    }.get(name)
    for place in range(0, len(whole), 1 if verify_heads else 13):
        harmed = bytearray(whole)
        harmed[place] ^= 4
        path.write_bytes(harmed)
        if verify_heads:
            with pytest.raises(Damaged):
                verify_heads()
        else:
            assert verify(run).damages, place
    path.write_bytes(whole)


@pytest.mark.long
def test_every_missing_object_is_found(run, tmp_path):
    """But for the newest strike, on which no truth depends, and what is derived, which older runs lack."""
    missed = {key for key in removals(tmp_path / "run") if not verify(run).damages}
    assert missed == unknowable(tmp_path / "run")


def test_changed_scores_are_found_and_removing_them_mends_it(run, tmp_path):
    key = next(key for key in objects(run.uri) if keys.is_scores(key))
    path = tmp_path / "run" / key
    path.write_bytes(path.read_bytes()[:-9] + bytes(9))
    (damage,) = verify(run).damages
    assert re.search(f"{key}: not the scores of a segment: .*; they are derived: remove it", damage)
    path.unlink()
    assert verify(run).damages == []


def test_missing_only_manifest_of_a_whole_run_is_found(tmp_path):
    run = create_run(LocalStore(str(tmp_path)), recipe())
    finish(run, write_plan(run, triplets(5), 2))
    (tmp_path / keys.manifest(0)).unlink()
    assert any("parts of a manifest are there" in line for line in verify(run).damages)


@pytest.mark.parametrize(
    ("harm", "words"), WRONG, ids=lambda value: getattr(value, "__name__", None)
)
def test_object_that_is_whole_in_itself_and_wrong_is_found(run, tmp_path, harm, words):
    harm(run, tmp_path)
    damages = verify(run).damages
    assert any(re.search(words, line) for line in damages), damages


def test_damaged_attempt_is_found_where_attempts_lie_side_by_side(tmp_path):
    run = eventful(tmp_path, WeakStore, "sealed")
    assert verify(run).damages == []
    attempts = [key for key in objects(tmp_path) if key.startswith("commits/")]
    assert len(attempts) == 8  # unit 0 in two generations
    for key in attempts:
        path = tmp_path / key
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert any(key in line for line in verify(run).damages), key
        path.write_bytes(whole)


def test_commit_that_only_a_roll_up_remembers_is_missed(tmp_path):
    run = create_run(LocalStore(str(tmp_path)), recipe())
    plan = write_plan(run, triplets(8), 2)
    for unit in (0, 1):
        generate_unit(run, plan, unit, StubSource())
    assert Book(run, plan).roll_up(0)
    assert verify(run).damages == []
    (tmp_path / keys.commit(1)).unlink()
    assert verify(run).damages == [f"{run.uri}/{keys.commit(1)}: rolled up, not there"]


def test_each_commit_is_read_once(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "run")
    run = open_run(NotedStore(str(tmp_path / "run")))
    assert verify(run).damages == []
    reads = run.store.count("get", "commits/")
    assert len(reads) == 8
    assert set(reads.values()) == {1}
    assert set(run.store.count("get", "pairs/").values()) == {1}


def test_verify_and_the_book_see_the_same_units(run):
    plan = read_plan(run)
    lines = list(Book(run, plan).lines())
    assert [line.unit for line in lines] == list(plan.units)
    assert all(line.content == find_commit(run, plan, line.unit).line.content for line in lines)
