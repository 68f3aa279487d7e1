"""Every kind of stored object, every kind of harm: verify finds all that was planted."""

import hashlib
import json
import re
import shutil

import pytest

from factory.errors import Damaged
from factory.generate import generate_unit
from factory.here import run_here
from factory.job import run_job
from factory.ledger import keys
from factory.ledger.attempts import find_commit
from factory.ledger.book import Book
from factory.ledger.failed import commit_failed, open_failed
from factory.ledger.manifest import seal
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.strikes import write_strike
from factory.ledger.verify import verify
from factory.storage.local import LocalStore
from schemas.arrow import from_parquet, to_parquet
from schemas.canonical import canonical_json, content_hash
from schemas.commit import LedgerLine, UnitLine
from schemas.config import Config
from schemas.pair import Pair
from schemas.run import PlanRecord
from schemas.stamped import from_stamped_json, to_stamped_json
from tests.factory.ledger.watched_store import NotedStore, WeakStore
from tests.stub_source import StubSource, recipe, triplets

SEGMENT = 2


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", SEGMENT)


def finish(run, plan):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def eventful(folder, store=LocalStore, commits="conditional"):
    """A run with every kind of object: extended, opened again, struck, sealed in part and whole."""
    run = create_run(store(str(folder)), recipe(), commits)
    plan = write_plan(run.store, triplets(5), 2)
    generate_unit(run, plan, 1, StubSource())
    seal(run, plan, partial=True)
    for alone in (False, False, True):
        write_strike(run.store, 0, 0, alone=alone, worker="w", node="n")
    commit_failed(run, plan, 0, "planted")
    finish(run, plan)
    plan = write_plan(run.store, triplets(12), 2, extend=True)
    finish(run, open_failed(run, plan))
    return run


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


def objects(folder):
    return sorted(info.key for info in LocalStore(str(folder)).list())


def test_eventful_run_is_whole(run):
    found = verify(run)
    assert found.damages == []
    assert (found.units, found.open_units, found.sealed) == (7, 0, True)
    folders = {key.split("/")[0] for key in objects(run.uri)}
    assert folders == {
        *("RUN.json", "plan", "pairs", "commits", "segments", "manifest", "strikes", "retries"),
    }


def test_every_flipped_byte_in_every_object_is_found(run, tmp_path):
    """One byte at the beginning, three within, one at the end: of every object, of every kind."""
    missed = []
    for key in objects(run.uri):
        path = tmp_path / "run" / key
        whole = path.read_bytes()
        for place in {0, len(whole) // 4, len(whole) // 2, 3 * len(whole) // 4, len(whole) - 1}:
            harmed = bytearray(whole)
            harmed[place] ^= 1
            path.write_bytes(harmed)
            if not verify(run).damages:
                missed.append((key, place))
        path.write_bytes(whole)
    assert missed == []
    assert verify(run).damages == []


@pytest.mark.parametrize("name", ["RUN.json", "plan/000001/plan.json", "manifest/000002.json"])
def test_every_single_byte_of_a_small_record_is_guarded(run, tmp_path, name):
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    verify_heads = {
        "RUN.json": lambda: open_run(run.store),
    }.get(name)
    for place in range(0, len(whole), 1 if verify_heads else 7):
        harmed = bytearray(whole)
        harmed[place] ^= 4
        path.write_bytes(harmed)
        if verify_heads:
            with pytest.raises(Damaged):
                verify_heads()
        else:
            assert verify(run).damages, place
    path.write_bytes(whole)


def test_every_missing_object_is_found(run, tmp_path):
    """But for the newest strike, which truth does not depend on; a removed one is as one not written."""
    missed = []
    for key in objects(run.uri):
        path = tmp_path / "run" / key
        whole = path.read_bytes()
        path.unlink()
        if not verify(run).damages:
            missed.append(key)
        path.write_bytes(whole)
    newest = max(key for key in objects(run.uri) if key.startswith("manifest/0"))
    assert set(missed) <= {keys.strike(0, 2), newest}
    # Without the newest manifest the run is sealed as it was before.
    assert newest in missed


def test_missing_only_manifest_of_a_whole_run_is_found(tmp_path):
    run = create_run(LocalStore(str(tmp_path)), recipe())
    finish(run, write_plan(run.store, triplets(5), 2))
    (tmp_path / keys.manifest(0)).unlink()
    assert any("parts of a manifest are there" in line for line in verify(run).damages)


def swapped_commit(run, folder):
    """Whole in itself, and not the one that was sealed."""
    other = create_run(LocalStore(str(folder / "other")), recipe(thresholds=OTHER))
    plan = write_plan(other.store, triplets(5), 2)
    generate_unit(other, plan, 1, StubSource())
    (folder / "run" / keys.commit(1)).write_bytes(other.store.get(keys.commit(1)))
    for info in other.store.list("pairs/"):
        (folder / "run" / info.key).write_bytes(other.store.get(info.key))


OTHER = {"image": 0.3, "text": 0.2, "direction": 0.2, "borderline": 0.01}


def altered_roll_up(run, folder):
    path = folder / "run" / keys.roll_up(1)
    lines, _ = from_parquet(LedgerLine, path.read_bytes())
    lines[1] = lines[1].model_copy(update={"rejected": lines[1].rejected + 1})
    path.write_bytes(to_parquet(LedgerLine, lines))


def altered_manifest(run, folder):
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    plain["failed"] += 1
    path.write_bytes(canonical_json(plain))


def manifest_without_a_part(run, folder):
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    del plain["parts"][1]
    path.write_bytes(canonical_json(plain))


def manifest_with_a_part_of_other_lines(run, folder):
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    old = plain["parts"][0]
    lines, _ = from_parquet(UnitLine, run.store.get(old["key"]))
    lines[1] = lines[1].model_copy(update={"pairs_sha256": "0" * 64})
    data = to_parquet(UnitLine, lines)
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.manifest_part("000000", sha256)
    run.store.put(key, data)
    plain["parts"][0] = old | {"key": key, "sha256": sha256}
    path.write_bytes(canonical_json(plain))


def altered_plan_head(run, folder):
    path = folder / "run" / keys.plan_head(1)
    head = from_stamped_json(PlanRecord, path.read_bytes())
    path.write_bytes(to_stamped_json(head.model_copy(update={"triplets": head.triplets - 1})))


def plan_head_with_a_unit_too_many(run, folder):
    path = folder / "run" / keys.plan_head(1)
    head = from_stamped_json(PlanRecord, path.read_bytes())
    last = head.parts[-1].model_copy(update={"units": head.parts[-1].units + 1})
    update = {"units": head.units + 1, "parts": (*head.parts[:-1], last)}
    path.write_bytes(to_stamped_json(head.model_copy(update=update)))


def whole_manifest_called_partial(run, folder):
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    path.write_bytes(canonical_json(plain | {"partial": True}))


def manifest_that_miscounts_a_part(run, folder):
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    plain["parts"][0]["units"] += 1
    path.write_bytes(canonical_json(plain))


def manifest_in_another_form(run, folder):
    path = folder / "run" / keys.manifest(2)
    path.write_bytes(json.dumps(json.loads(path.read_bytes()), indent=1).encode())


def swapped_pairs(run, folder):
    """A whole file with the same rows, but for a picture."""
    line = next(line for line in Book(run, read_plan(run.store)).lines() if line.pairs_key)
    path = folder / "run" / line.pairs_key
    pairs, _ = from_parquet(Pair, path.read_bytes())
    swapped = pairs[0].model_copy(update={"original_image": pairs[0].edited_image})
    path.write_bytes(to_parquet(Pair, [swapped, *pairs[1:]]))


def altered_run_record(run, folder):
    path = folder / "run" / keys.RUN
    plain = json.loads(path.read_bytes())
    plain.pop("stamp")
    plain["recipe"]["steps"] += 1
    path.write_bytes(canonical_json(plain | {"stamp": content_hash(plain)}))


def commit_beyond_the_plan(run, folder):
    path = folder / "run" / keys.commit(99)
    path.parent.mkdir(parents=True)
    path.write_bytes(run.store.get(keys.commit(1)))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (swapped_commit, "made with another recipe"),
        (swapped_commit, "is not the commit that its roll-up sums up"),
        (swapped_commit, "unit 1's commit is not the sealed one"),
        (altered_roll_up, "is not the commit that its roll-up sums up"),
        (altered_manifest, "failed do not add up"),
        (manifest_without_a_part, "units do not add up"),
        (manifest_with_a_part_of_other_lines, "unit 1's commit is not the sealed one"),
        (altered_plan_head, r"000001/plan\.json: its triplets are not those"),
        (plan_head_with_a_unit_too_many, r"holds \d triplets, \d units"),
        (whole_manifest_called_partial, "partial is True, with 7 of 7"),
        (manifest_that_miscounts_a_part, "is not manifest/parts/.* of 2 units"),
        (manifest_in_another_form, "not in the form that this program writes"),
        (swapped_pairs, r"not the bytes that unit \d committed"),
        (altered_run_record, "recipe does not match its hash"),
        (commit_beyond_the_plan, "unit is not in the plan"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
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
    plan = write_plan(run.store, triplets(8), 2)
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
    plan = read_plan(run.store)
    lines = list(Book(run, plan).lines())
    assert [line.unit for line in lines] == list(plan.units)
    assert all(line.content == find_commit(run, plan, line.unit).line.content for line in lines)
