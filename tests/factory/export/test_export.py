"""`export` as a command: resumed, verified, sealed and collected by RUN.json alone; what it refuses."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.__main__ import app
from factory.export import export as stage_of
from factory.export.export import export_stage
from factory.export.prepare import prepare
from factory.ledger.run import open_run
from factory.storage.open import open_store
from factory.work.job import run_job
from factory.work.plain_loop import run_here
from schemas.export import Export, ExportRecipe
from tests.factory.export.runs import sealed_run, shared_run
from tests.factory.storage.conftest import moto, moto_bucket

__all__ = ["moto", "moto_bucket"]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Some of them a split."""
    monkeypatch.setattr("factory.export.shards.MB", 9000)


def run_verb(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


def export(to, *options, run=None):
    return run_verb(
        "export", run or shared_run(), "--to", to, "--set", "recipe.shard_mb=1", *options
    )


def files(folder):
    """All but the records, which name attempts and times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(("_editmill", "."))
    }


class Died(Exception):
    """As a process does."""


@pytest.mark.parametrize("form", ["hf", "webdataset", "ip2p", "imagefolder"])
def test_an_export_that_was_broken_off_goes_on_and_is_the_same(form, tmp_path, monkeypatch):
    assert export(tmp_path / "whole", "--format", form)[0] == 0
    make, made = stage_of.ShardMaker.make, []

    def dying(self, unit, items):
        if len(made) == 3:
            raise Died
        made.append(unit)
        return make(self, unit, items)

    monkeypatch.setattr(stage_of.ShardMaker, "make", dying)
    done = CliRunner().invoke(
        app,
        [
            "export",
            shared_run(),
            "--to",
            str(tmp_path / "to"),
            "--format",
            form,
            "--set",
            "recipe.shard_mb=1",
        ],
    )
    assert isinstance(done.exception, Died)
    assert "README.md" not in files(tmp_path / "to")
    monkeypatch.setattr(
        stage_of.ShardMaker,
        "make",
        lambda self, unit, items: made.append(unit) or make(self, unit, items),
    )
    assert export(tmp_path / "to", "--format", form)[0] == 0
    assert len(made) == len(set(made)) > 4
    assert files(tmp_path / "to") == files(tmp_path / "whole")
    assert run_verb("verify", tmp_path / "to")[0] == 0


def test_verbs_know_it_by_its_records_alone(tmp_path):
    to = tmp_path / "to"
    assert export(to)[0] == 0
    before = files(to)
    code, said = run_verb("status", to, "--json")
    assert code == 0
    counts = json.loads(said)
    assert counts["counts"]["failed"] == 0
    assert counts["pairs"] == 48
    (to / "README.md").unlink()
    code, said = run_verb("verify", to)
    assert code == 5
    assert "README.md: must be what the newest manifest gives, got none" in said
    assert run_verb("seal", to)[0] == 0
    assert files(to) == before
    assert run_verb("verify", to)[0] == 0
    assert run_verb("gc", to, "--delete")[0] == 0
    assert files(to) == before


def test_a_damaged_shard_is_found_and_made_again(tmp_path):
    to = tmp_path / "to"
    assert export(to)[0] == 0
    before = files(to)
    shard = next(path for path in (to / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert run_verb("verify", to)[0] == 5
    assert run_verb("verify", to, "--repair")[0] == 3
    assert not shard.exists()
    assert export(to)[0] == 0
    assert files(to) == before
    assert run_verb("verify", to)[0] == 0


def test_it_goes_on_with_the_manifest_that_it_was_begun_with(tmp_path):
    run = sealed_run(str(tmp_path / "run"), limit=8)
    config = Export(recipe=ExportRecipe(shard_mb=1), budget={"limit": 2})
    opened, plan = prepare(config, run.uri, str(tmp_path / "to"))
    stage = export_stage()
    assert run_job(stage, opened, plan, config, run_here(stage)).exit_code == 0
    assert "README.md" not in files(tmp_path / "to")
    sealed_run(run.uri)
    code, said = export(tmp_path / "to", run=run.uri)
    assert code == 0, said
    card = (tmp_path / "to" / "README.md").read_text()
    assert "16 before/after pairs" in card
    assert "**This is of a snapshot**" in card
    export(tmp_path / "later", run=run.uri)
    assert "48 before/after pairs" in (tmp_path / "later" / "README.md").read_text()


def test_a_source_that_was_damaged_is_told_and_not_exported(tmp_path):
    run = sealed_run(str(tmp_path / "run"))
    pairs = sorted((tmp_path / "run" / "pairs").iterdir())[3]
    whole = pairs.read_bytes()
    pairs.write_bytes(whole[:50] + b"?" + whole[51:])
    code, said = export(tmp_path / "to", run=run.uri)
    assert code == 3
    assert f"{pairs}: not the sealed bytes; `editmill verify --repair" in said
    pairs.write_bytes(whole)
    assert export(tmp_path / "to", run=run.uri)[0] == 0


def test_another_form_of_a_begun_export_is_refused_by_name(tmp_path):
    assert export(tmp_path / "to")[0] == 0
    code, said = export(tmp_path / "to", "--format", "imagefolder")
    assert code == 2
    assert "form: 'hf' -> 'imagefolder'" in said
    code, said = export(tmp_path / "to", run=sealed_run(str(tmp_path / "run"), run_seed=1).uri)
    assert code == 2
    assert "holds an export of another run" in said


def test_what_another_put_at_a_key_is_never_overwritten(tmp_path, monkeypatch):
    to, make = tmp_path / "to", stage_of.ShardMaker.make
    key = to / "data" / "test-00000-of-00001.parquet"

    def beside(self, unit, items):
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_bytes(b"another's")
        (to / "croissant.json").write_bytes(b"another's")
        return make(self, unit, items)

    monkeypatch.setattr(stage_of.ShardMaker, "make", beside)
    code, said = export(to)
    assert "croissant.json: is not this program's" in said
    assert key.read_bytes() == b"another's"
    assert (to / "croissant.json").read_bytes() == b"another's"
    assert json.loads(run_verb("status", to, "--json")[1])["counts"]["failed"] == 1
    assert "data/test-00000" not in (to / "README.md").read_text()
    monkeypatch.setattr(stage_of.ShardMaker, "make", make)
    key.unlink()
    (to / "croissant.json").unlink()
    assert export(to, "--retry-failed")[0] == 0
    assert export(tmp_path / "whole")[0] == 0
    assert files(to) == files(tmp_path / "whole")


def test_no_byte_depends_on_where_it_lies_or_how_often_it_is_made(tmp_path, monkeypatch):
    run = Path(shared_run())
    export(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    os.symlink(run, tmp_path / "moved")
    export("two", run="moved")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    recipes = [open_run(str(tmp_path / name)).recipe_hash for name in ("one", "two")]
    assert recipes[0] == recipes[1]


@pytest.mark.long
def test_from_a_bucket_to_a_bucket_it_is_the_same(tmp_path, moto_bucket):
    run = sealed_run(f"{moto_bucket}/run")
    code, said = export(f"{moto_bucket}/to", run=run.uri)
    assert code == 0, said
    assert export(tmp_path / "to")[0] == 0
    place = open_store(f"{moto_bucket}/to")
    there = {
        one.key: place.get(one.key) for one in place.list() if not one.key.startswith("_editmill")
    }
    told = ("README.md", "croissant.json")
    here = files(tmp_path / "to")
    assert there.keys() == here.keys()
    # Times of the run are told there.
    assert {k: v for k, v in there.items() if k not in told} == {
        k: v for k, v in here.items() if k not in told
    }
    assert run_verb("verify", f"{moto_bucket}/to")[0] == 0


@pytest.mark.parametrize("name", ["mine.txt", "my notes.txt", "data/old.parquet"])
def test_a_place_with_files_of_anothers_is_refused(name, tmp_path):
    (tmp_path / "to" / name).parent.mkdir(parents=True)
    (tmp_path / "to" / name).write_text("mine")
    code, said = export(tmp_path / "to")
    assert code == 2
    assert f"must be empty or hold an export of ours, got {name!r}" in said
    assert files(tmp_path / "to") == {name: b"mine"}


def test_check_refuses_the_same_and_writes_nothing(tmp_path):
    code, said = export(tmp_path / "to", "--check")
    assert code == 0
    assert "checked: nothing is wrong" in said
    assert not (tmp_path / "to").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    assert export(tmp_path / "full", "--check")[0] == 2
    assert export(tmp_path / "to")[0] == 0
    assert export(tmp_path / "to", "--check")[0] == 0
    assert export(tmp_path / "to", "--check", "--title", "another")[0] == 2


@pytest.mark.slow
def test_workers_on_ray_write_the_same(tmp_path):
    assert export(tmp_path / "here")[0] == 0
    code, said = export(tmp_path / "ray", "--workers", "2")
    assert code == 0, said
    assert files(tmp_path / "here") == files(tmp_path / "ray")


@pytest.mark.parametrize("harm", ["flipped", "longer", "shorter", "missing"])
def test_large_shards_are_verified_in_parts(harm, tmp_path, monkeypatch):
    to = tmp_path / "to"
    assert export(to)[0] == 0
    for module in ("factory.storage.patience", "factory.ledger.verify.unit"):
        monkeypatch.setattr(f"{module}.PART", 1000)
    assert run_verb("verify", to)[0] == 0
    shard = next((to / "data").iterdir())
    data = shard.read_bytes()
    assert len(data) > 3000
    harmed = {
        "flipped": data[:2500] + bytes([data[2500] ^ 1]) + data[2501:],
        "longer": data + b"?",
        "shorter": data[:-1],
    }
    if harm == "missing":
        shard.unlink()
    else:
        shard.write_bytes(harmed[harm])
    code, said = run_verb("verify", to)
    assert code == 5
    assert f"data/{shard.name}" in said
