"""Garbage collection: only what nothing names, only old, only from a run that is sealed whole."""

import os
import time

import pytest
from typer.testing import CliRunner

from factory.__main__ import app
from factory.errors import StorageRefused
from factory.ledger import keys
from factory.ledger.collect import collect
from factory.ledger.manifest import manifest_bytes
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import Incomplete, manifest_part, seal
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.commits import Attempt
from factory.ledger.units.reopen import open_failed
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from schemas.config import Config
from schemas.ledger.commit import Manifest, UnitLine
from tests.factory.ledger.watched_store import KeepingStore, WeakStore
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

HOUR = 3600.0
ORPHAN = "pairs/00000001-0123456789abcdef.parquet"


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)


def start(folder, count=9, store=LocalStore, commits="conditional"):
    run = create_run(store(str(folder)), recipe(), commits)
    return run, write_plan(run, triplets(count), 2)


def finish(run, plan):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def age(folder, hours):
    """Make everything below a folder so old."""
    then = time.time() - hours * HOUR
    for parent, _, names in os.walk(folder):
        for name in names:
            os.utime(os.path.join(parent, name), (then, then))


def everything(run):
    return {info.key: run.store.get(info.key) for info in run.store.list()}


def litter(run):
    """What lost attempts, killed drivers and probes leave."""
    keys_left = [
        ORPHAN,
        "probe/0123",
        "plan/000001/000000-0123456789abcdef.parquet",
        "manifest/parts/000001-0123456789abcdef.parquet",
    ]
    for key in keys_left:
        run.store.put(key, b"left behind")
    return set(keys_left)


def test_dry_run_lists_what_nothing_names_and_removes_nothing(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    left = litter(run)
    age(tmp_path, 25)
    before = everything(run)
    found = collect(run, plan)
    assert {one.key for one in found.found} == left
    assert (found.removed, found.young) == (0, 0)
    assert found.bytes == len(left) * len(b"left behind")
    assert everything(run) == before


def test_delete_removes_it_and_nothing_else(tmp_path):
    run, plan = start(tmp_path)
    result = finish(run, plan)
    before = everything(run)
    left = litter(run)
    age(tmp_path, 25)
    assert collect(run, plan, delete=True).removed == len(left)
    assert everything(run) == before
    assert verify(run).damages == []
    assert finish(run, plan).manifest_hash == result.manifest_hash
    assert collect(run, plan).found == []


@pytest.mark.parametrize(
    ("hours", "asked", "gone"), [(23, 0, 0), (25, 0, 4), (25, 30, 0), (31, 30, 4)]
)
def test_only_what_is_older_than_a_day_and_than_asked_goes(tmp_path, hours, asked, gone):
    run, plan = start(tmp_path)
    finish(run, plan)
    litter(run)
    age(tmp_path, hours)
    found = collect(run, plan, delete=True, older_than_hours=asked)
    assert (found.removed, found.young) == (gone, 4 - gone)


@pytest.mark.parametrize("unit", [0, 4], ids=["rolled up", "in an open segment"])
def test_nothing_younger_than_ten_of_the_longest_attempts_goes(tmp_path, monkeypatch, unit):
    run, plan = start(tmp_path)
    with monkeypatch.context() as slow:
        # Committed four hours after it was begun.
        slow.setattr(Attempt, "seconds", 4 * HOUR)
        generate_unit(run, plan, unit, StubSource())
    finish(run, plan)
    assert ((tmp_path / keys.roll_up(keys.segment_of(unit))).exists()) == (unit == 0)
    litter(run)
    age(tmp_path, 39)
    young = collect(run, plan, delete=True)
    assert (young.removed, young.young, round(young.least_hours, 1)) == (0, 4, 40.0)
    age(tmp_path, 41)
    assert collect(run, plan, delete=True).removed == 4


@pytest.mark.parametrize(
    "how", ["never sealed", "partial", "extended", "made, not sealed", "opened again"]
)
def test_run_that_is_not_sealed_whole_is_refused(tmp_path, how):
    run, plan = start(tmp_path)
    if how == "partial":
        generate_unit(run, plan, 0, StubSource())
        seal(run, plan, partial=True)
    elif how == "extended":
        finish(run, plan)
        plan = write_plan(run, triplets(12), 2, extend=True)
    elif how == "made, not sealed":
        finish(run, plan)
        plan = write_plan(run, triplets(12), 2, extend=True)
        for unit in plan.units:
            generate_unit(run, plan, unit, StubSource())
    elif how == "opened again":
        commit_failed(run, plan, 0, "planted")
        finish(run, plan)
        plan = open_failed(run, plan)
    litter(run)
    age(tmp_path, 99)
    before = everything(run)
    with pytest.raises(Incomplete, match="sealed whole"):
        collect(run, plan, delete=True)
    assert everything(run) == before


def test_objects_that_this_program_never_named_stay(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    strangers = ["pairs/notes.txt", "pairs/00000099-0123456789abcdef.parquet", "replies/a.json"]
    strangers += ["manifest/parts/readme.md", "selections/x/a.parquet"]
    for key in strangers:
        run.store.put(key, b"not ours to remove")
    age(tmp_path, 99)
    assert collect(run, plan, delete=True).removed == 0


@pytest.mark.parametrize(("store", "commits"), [(LocalStore, "conditional"), (WeakStore, "sealed")])
def test_earlier_generations_of_a_unit_stay_for_the_manifests_of_their_day(
    tmp_path, store, commits
):
    run, plan = start(tmp_path, store=store, commits=commits)
    generate_unit(run, plan, 0, StubSource())
    seal(run, plan, partial=True)
    commit_failed(run, plan, 1, "planted")
    finish(run, plan)
    plan = open_failed(run, plan)
    finish(run, plan)
    age(tmp_path, 99)
    assert collect(run, plan, delete=True).removed == 0
    assert verify(run).damages == []


def test_pairs_that_only_an_older_manifest_lists_stay(tmp_path):
    run, plan = start(tmp_path)
    run.store.put(ORPHAN, b"orphan")
    line = UnitLine(
        unit=1,
        outcomes_sha256="0" * 64,
        counts={"accepted": 1, "rejected": 23, "failed": 0},
        data_key=ORPHAN,
        data_sha256="0" * 64,
        data_bytes=6,
    )
    part, data = manifest_part(run, 0, [line])
    run.store.put(part.key, data)
    older = Manifest(
        recipe_hash=run.recipe.recipe_hash,
        plan_digest=plan.record.digest,
        partial=True,
        units=1,
        items=2,
        counts={"accepted": 1, "rejected": 23, "failed": 0},
        parts=(part,),
    )
    run.store.put(keys.manifest(0), manifest_bytes(run, older))
    finish(run, plan)
    age(tmp_path, 99)
    assert collect(run, plan, delete=True).removed == 0
    assert run.store.find(ORPHAN)


def test_losing_attempts_go_on_a_store_where_each_has_its_own_commit(tmp_path, monkeypatch):
    class Blind(WeakStore):
        def list(self, prefix=""):
            return (i for i in super().list(prefix) if not prefix.startswith("commits/"))

    run, plan = start(tmp_path, store=WeakStore, commits="sealed")
    for unit in (0, 4):  # one in a segment that will be rolled up, one in the open one
        for _ in range(3):
            generate_unit(open_run(Blind(str(tmp_path))), plan, unit, StubSource())
    result = finish(run, plan)
    chosen = {find_commit(run, plan, unit).key for unit in (0, 4)}
    age(tmp_path, 25)
    found = collect(run, plan, delete=True)
    assert found.removed == 4
    assert chosen <= set(everything(run))
    assert finish(run, plan).manifest_hash == result.manifest_hash
    assert verify(run).damages == []


def test_object_that_was_stored_again_since_the_listing_stays(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    run.store.put(ORPHAN, b"orphan")
    age(tmp_path, 25)

    class Rewritten(LocalStore):
        def list(self, prefix=""):
            listed = list(super().list(prefix))
            if prefix == "pairs/" and listed:
                self.put(ORPHAN, b"orphan")  # a slow worker, just now
            return iter(listed)

    slow = open_run(Rewritten(str(tmp_path)))
    found = collect(slow, plan, delete=True)
    assert ([one.key for one in found.found], found.removed) == ([ORPHAN], 0)
    assert run.store.find(ORPHAN)


def test_unfinished_uploads_that_are_old_are_removed(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    incoming = tmp_path / ".incoming"
    (incoming / "old").write_bytes(b"half")
    age(tmp_path, 25)
    (incoming / "new").write_bytes(b"half")
    assert [one.name for _, one in collect(run, plan).uploads] == ["old"]
    assert sorted(os.listdir(incoming)) == ["new", "old"]
    assert collect(run, plan, delete=True).removed == 1
    assert os.listdir(incoming) == ["new"]


def test_everything_but_gc_works_with_keys_that_may_not_delete(tmp_path):
    run, plan = start(tmp_path, store=KeepingStore)
    commit_failed(run, plan, 0, "planted")
    finish(run, plan)
    plan = write_plan(run, triplets(12), 2, extend=True)
    plan = open_failed(run, plan)
    assert finish(run, plan).exit_code == 0
    assert verify(run).damages == []
    run.store.put(ORPHAN, b"orphan")
    age(tmp_path, 25)
    with pytest.raises(StorageRefused, match="may not delete"):
        collect(run, plan, delete=True)


def test_command_lists_first_and_deletes_when_told(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    run.store.put(ORPHAN, b"orphan")
    age(tmp_path, 25)
    shown = CliRunner().invoke(app, ["gc", str(tmp_path)])
    assert shown.exit_code == 0
    assert f"{ORPHAN}  pairs of a lost attempt" in shown.output
    assert "--delete removes these" in shown.output
    assert CliRunner().invoke(app, ["gc", str(tmp_path), "--older-than", "26"]).exit_code == 0
    assert run.store.find(ORPHAN)
    assert CliRunner().invoke(app, ["gc", str(tmp_path), "--delete", "--json"]).exit_code == 0
    assert run.store.find(ORPHAN) is None
