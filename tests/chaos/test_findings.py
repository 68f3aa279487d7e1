"""The instrument shows what it is there to show: each kind of harm, planted."""

import json

import pytest

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.commits import commit_names
from factory.ledger.manifest import manifest_part
from factory.ledger.plan import find_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.sealed import manifest_bytes, newest_manifest, unit_lines
from schemas.arrow import from_parquet, to_parquet
from schemas.config import Config
from schemas.pair import Pair
from tests.chaos.actors import OwnSource, WeakStore
from tests.chaos.command import undisturbed_run
from tests.chaos.findings import examine
from tests.chaos.memory_store import MemoryStore
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import recipe, triplets

CONFIG = Config(recipe=recipe(candidates=5, unit_triplets=1))
UNITS = 4
LANDED = dict.fromkeys(range(UNITS), 100.0)


@pytest.fixture(scope="module")
def peace():
    return undisturbed_run(CONFIG, UNITS)


@pytest.fixture
def store(peace):
    copy = MemoryStore()
    copy.objects, copy.modified = dict(peace.objects), dict(peace.modified)
    return copy


@pytest.fixture
def note(tmp_path):
    """Notes candidates as made; all of them were, before their commits were stored."""

    def note(triplet_id, at, asked=None):
        with (tmp_path / "1.jsonl").open("a") as file:
            line = {"made": triplet_id, "index": 0, "at": at, "asked": asked}
            file.write(json.dumps(line) + "\n")

    for triplet in triplets(UNITS):
        note(triplet.triplet_id, 50.0)
    return note


def pairs_of(store):
    return next(key for key in store.objects if key.startswith("pairs/"))


def test_run_like_the_undisturbed_one_shows_nothing(store, peace, tmp_path, note):
    found = examine(store, peace, tmp_path, LANDED)
    assert (found.faults, found.words) == (0, [])
    assert (found.units, found.candidates, found.made) == (4, 20, 4)


def test_missing_pairs_are_lost(store, peace, tmp_path, note):
    del store.objects[pairs_of(store)]
    assert examine(store, peace, tmp_path, LANDED).lost > 0


def test_changed_byte_is_torn(store, peace, tmp_path, note):
    key = pairs_of(store)
    data = bytearray(store.objects[key])
    data[len(data) // 2] ^= 1
    store.objects[key] = bytes(data)
    assert examine(store, peace, tmp_path, LANDED).torn > 0


def test_unit_that_the_manifest_lists_twice_is_duplicated(store, peace, tmp_path, note):
    run = open_run(store)
    number, manifest = newest_manifest(run)
    lines = list(unit_lines(run, manifest))
    twice = next(line for line in lines if line.counts["accepted"])
    part, data = manifest_part(run, 0, [*lines, twice])
    store.put(part.key, data)
    other = manifest.model_copy(update={"parts": (part,)})
    store.put(keys.manifest(number), manifest_bytes(run, other))
    found = examine(store, peace, tmp_path, LANDED)
    assert (found.duplicated, found.lost) == (twice.counts["accepted"] + 1, 0)


def test_row_that_a_pairs_file_holds_twice_is_duplicated(store, peace, tmp_path, note):
    key = pairs_of(store)
    rows, _ = from_parquet(Pair, store.objects[key])
    store.objects[key] = to_parquet(Pair, [*rows, rows[0]])
    found = examine(store, peace, tmp_path, LANDED)
    assert (found.duplicated, found.lost) == (1, 0)
    assert found.torn > 0


def test_half_an_object_that_nobody_names_is_torn(store, peace, tmp_path, note):
    store.objects["pairs/00000001-0123456789abcdef.parquet"] = b"PAR1 and no more"
    store.modified["pairs/00000001-0123456789abcdef.parquet"] = 0.0
    assert examine(store, peace, tmp_path, LANDED).torn == 1


def test_unit_without_a_commit_is_lost(peace, tmp_path, note):
    store = MemoryStore()
    run = create_run(store, CONFIG.recipe)
    plan = write_plan(run, triplets(UNITS), 1)
    limited = CONFIG.model_copy(update={"budget": CONFIG.budget.model_copy(update={"limit": 3})})
    run_job(run, plan, limited, run_here(lambda _: OwnSource(0)))
    assert [name.unit for name in commit_names(store)] == [0, 1, 2]
    assert examine(store, peace, tmp_path, LANDED).lost >= 5


def test_unit_given_up_is_falsely_failed_unless_it_is_poison(peace, tmp_path, note):
    store = MemoryStore()
    run = create_run(store, CONFIG.recipe)
    plan = write_plan(run, triplets(UNITS), 1)
    commit_failed(run, plan, 2, "poison")
    run_job(run, plan, CONFIG, run_here(lambda _: OwnSource(0)))
    found = examine(store, peace, tmp_path, LANDED)
    assert found.falsely_failed > 0
    poison = frozenset({triplets(UNITS)[2].triplet_id})
    found = examine(store, peace, tmp_path, LANDED, poison)
    assert (found.faults, found.poison_units_found) == (0, 1)


def test_other_bytes_than_in_peace_are_torn(peace, tmp_path, note):
    store = MemoryStore()
    run = create_run(store, CONFIG.recipe)
    plan = write_plan(run, triplets(UNITS), 1)
    run_job(run, plan, CONFIG, run_here(lambda _: OwnSource(1)))
    assert find_plan(run)
    assert open_run(store).recipe == CONFIG.recipe
    assert examine(store, peace, tmp_path, LANDED).torn > 0


def test_second_attempt_beside_the_one_that_counts_is_surplus_and_no_fault(
    peace, tmp_path, note, monkeypatch
):
    store = WeakStore()
    run = create_run(store, CONFIG.recipe, "sealed")
    plan = write_plan(run, triplets(UNITS), 1)
    run_job(run, plan, CONFIG, run_here(lambda _: OwnSource(0)))
    assert examine(store, peace, tmp_path, LANDED).surplus_attempts == 0

    def not_yet(*_):
        raise ObjectMissing("a worker that asked before there was one")

    monkeypatch.setattr("factory.work.unit.find_commit", not_yet)
    generate_unit(run, plan, 1, OwnSource(0))
    found = examine(store, peace, tmp_path, LANDED)
    assert (found.surplus_attempts, found.faults, found.words) == (1, 0, [])


@pytest.mark.parametrize(
    ("at", "asked", "again"), [(200.0, None, 1), (200.0, 150.0, 1), (200.0, 90.0, 0), (90, None, 0)]
)
def test_made_again_counts_where_the_commit_could_be_seen(
    store, peace, tmp_path, note, at, asked, again
):
    note(triplets(UNITS)[1].triplet_id, at, asked)
    assert examine(store, peace, tmp_path, LANDED).recomputed == again


def test_units_that_were_open_when_a_worker_was_last_heard_of_are_counted(
    store, peace, tmp_path, note
):
    def begin(name, at, *units):
        lines = [{"begin": [triplets(UNITS)[unit].triplet_id], "at": at} for unit in units]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert examine(store, peace, tmp_path, LANDED).most_open == 0
    begin(2, 60.0, 3)
    begin(3, 60.0, 0, 2)
    begin(4, 101.0, 0, 1, 2, 3)
    assert examine(store, peace, tmp_path, LANDED).most_open == 2
