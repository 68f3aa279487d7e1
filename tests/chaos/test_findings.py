import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from factory.ledger import keys
from factory.ledger.manifest import manifest_bytes, newest_manifest, unit_lines
from factory.ledger.plan import find_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import manifest_part
from factory.ledger.units.commits import commit_names
from factory.work.job import run_job
from factory.work.unit import fail_unit, make_unit
from schemas.arrow import from_parquet, to_parquet
from schemas.pair import Pair
from tests.chaos.command import in_ignorance, undisturbed_run
from tests.chaos.findings import Findings, examine
from tests.chaos.histories.actors import WeakStore
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.subject import STAGES, Own, small

UNITS = 4
OUTCOMES = {"generate": 20, "encode": 7, "edit": 8, "evaluate": 8, "captions": 8, "export": 4}
LANDED = dict.fromkeys(range(UNITS), 100.0)


@pytest.fixture(scope="module", params=STAGES)
def subject(request):
    return small(request.param, units=UNITS)


@pytest.fixture(scope="module")
def peace(subject):
    return undisturbed_run(subject)


@pytest.fixture
def store(peace):
    copy = MemoryStore()
    copy.objects, copy.modified = dict(peace.objects), dict(peace.modified)
    return copy


@pytest.fixture
def names(subject):
    """Of each unit's first item."""
    return [item.item_id for item in subject.items()[:: subject.unit_items]]


@pytest.fixture
def note(names, tmp_path):
    """Notes outcomes as made; all of them were, before their commits were stored."""

    def note(name, at, asked=None):
        with (tmp_path / "1.jsonl").open("a") as file:
            line = {"made": name, "index": 0, "at": at, "asked": asked}
            file.write(json.dumps(line) + "\n")

    for name in names:
        note(name, 50.0)
    return note


@pytest.fixture
def examined(subject, peace, tmp_path, note):
    def examined(store, poison=frozenset()) -> Findings:
        return examine(subject, store, peace, tmp_path, LANDED, poison)

    return examined


def begun(subject, store, commits="conditional"):
    subject.surround(store)
    run = create_run(store, subject.recipe, commits, subject.layout)
    return run, write_plan(run, subject.items(), subject.unit_items)


def finish(subject, run, plan, *, number=0, limit=None):
    """Makes what is open; of number 0 as in peace."""

    def runner(run, plan, units, terms, should_stop):
        maker = Own(subject, number).load(run)
        for unit in units:
            yield make_unit(run, plan, unit, maker)

    run_job(subject.stage, run, plan, subject.terms(limit), runner)


def first_data(subject, store):
    kept = [key for key in sorted(store.objects) if key.startswith(subject.folder_of_kept)]
    if not kept:
        pytest.skip("this stage leaves rows alone")
    return kept[0]


def test_run_like_the_undisturbed_one_shows_nothing(subject, store, examined):
    found = examined(store)
    assert (found.faults, found.words) == (0, [])
    assert (found.units, found.outcomes, found.made) == (4, OUTCOMES[subject.layout.stage], 4)
    # Of the stub's edits every one is scored.
    none_lost = subject.layout.stage == "evaluate"
    assert 0 < found.kept < found.outcomes + none_lost


def test_missing_data_are_lost(subject, store, examined):
    del store.objects[first_data(subject, store)]
    assert examined(store).lost > 0


def test_changed_byte_is_torn(subject, store, examined):
    key = first_data(subject, store)
    data = bytearray(store.objects[key])
    data[len(data) // 2] ^= 1
    store.objects[key] = bytes(data)
    assert examined(store).torn > 0


def test_unit_that_the_manifest_lists_twice_is_duplicated(subject, store, examined):
    run = open_run(store)
    number, manifest = newest_manifest(run)
    lines, kept = list(unit_lines(run, manifest)), subject.layout.counts[0]
    twice = next(line for line in lines if line.counts[kept])
    part, data = manifest_part(run, 0, [*lines, twice])
    store.put(part.key, data)
    other = manifest.model_copy(update={"parts": (part,)})
    store.put(keys.manifest(number), manifest_bytes(run, other))
    found = examined(store)
    assert (found.duplicated, found.lost) == (twice.counts[kept] + 1, 0)


def test_outcome_that_a_units_data_hold_twice_is_duplicated(subject, store, examined):
    if subject.layout.stage not in TWICE:
        pytest.skip("each outcome has an object of its own")
    key = first_data(subject, store)
    store.objects[key] = TWICE[subject.layout.stage](store.objects[key])
    found = examined(store)
    assert (found.duplicated, found.lost) == (1, 0)
    assert found.torn > 0


def pair_twice(data):
    rows, _ = from_parquet(Pair, data)
    return to_parquet(Pair, [*rows, rows[0]])


def row_twice(data):
    tensors = load(data)
    name = next(name for name in tensors if name.startswith("rows."))
    return save(tensors | {name: np.concatenate([tensors[name], tensors[name][:1]])})


TWICE = {"generate": pair_twice, "encode": row_twice}


def test_half_an_object_that_nobody_names_is_torn(subject, store, examined):
    key = f"{subject.folder_of_data}00000001-0123456789abcdef.parquet"
    store.objects[key], store.modified[key] = b"PAR1 and no more", 0.0
    assert examined(store).torn == 1


def test_unit_without_a_commit_is_lost(subject, examined):
    store = MemoryStore()
    finish(subject, *begun(subject, store), limit=3)
    assert [name.unit for name in commit_names(store)] == [0, 1, 2]
    found = examined(store)
    assert found.lost >= OUTCOMES[subject.layout.stage] - found.outcomes > 0


def test_unit_given_up_is_falsely_failed_unless_it_is_poison(subject, names, examined):
    store = MemoryStore()
    run, plan = begun(subject, store)
    fail_unit(subject.stage, run, plan, 2, "poison")
    finish(subject, run, plan)
    assert examined(store).falsely_failed > 0
    found = examined(store, frozenset({names[2]}))
    assert (found.faults, found.poison_units_found) == (0, 1)


def test_other_bytes_than_in_peace_are_torn(subject, examined):
    store = MemoryStore()
    run, plan = begun(subject, store)
    finish(subject, run, plan, number=1)
    assert find_plan(run)
    assert examined(store).torn > 0


def test_second_attempt_beside_the_one_that_counts_is_surplus_and_no_fault(subject, examined):
    store = WeakStore()
    run, plan = begun(subject, store, "sealed")
    finish(subject, run, plan)
    assert examined(store).surplus_attempts == 0
    with in_ignorance():
        make_unit(run, plan, 1, Own(subject, 0).load(run))
    found = examined(store)
    assert (found.surplus_attempts, found.faults, found.words) == (1, 0, [])


@pytest.mark.parametrize(
    ("at", "asked", "again"), [(200.0, None, 1), (200.0, 150.0, 1), (200.0, 90.0, 0), (90, None, 0)]
)
def test_made_again_counts_where_the_commit_could_be_seen(
    store, names, note, examined, at, asked, again
):
    note(names[1], at, asked)
    assert examined(store).recomputed == again


def test_units_that_were_open_when_a_worker_was_last_heard_of_are_counted(
    store, names, examined, tmp_path
):
    def begin(name, at, *units):
        lines = [{"begin": [names[unit]], "at": at} for unit in units]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert examined(store).most_open == 0
    begin(2, 60.0, 3)
    begin(3, 60.0, 0, 2)
    begin(4, 101.0, 0, 1, 2, 3)
    assert examined(store).most_open == 2


@pytest.mark.parametrize(("looked", "paid"), [(49.0, 0), (51.0, 1)])
def test_request_counts_as_paid_twice_where_its_reply_could_be_seen(
    subject, store, peace, note, tmp_path, looked, paid
):
    with (tmp_path / "2.jsonl").open("a") as file:
        file.write(json.dumps({"pays": "replies/a", "looked": looked, "at": 60.0}) + "\n")
    found = examine(subject, store, peace, tmp_path, LANDED, stored={"replies/a": 50.0})
    assert found.paid_twice == found.faults == paid
