"""Other gates over candidates that are there."""

import hashlib
import json
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.dataset.files import find_files
from factory.errors import Damaged, InputError
from factory.ledger import keys
from factory.ledger.manifest import manifest_hash, newest_manifest
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.pairs.reselection import (
    RESCORED,
    Candidates,
    Reselector,
    place_of,
    selected_run,
    write_selected,
)
from factory.pairs.scores import lay_scores
from factory.pairs.sheet import sealed_pairs
from factory.pairs.source import Made
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from schemas.candidate import Scores
from schemas.config import Config
from tests.factory.storage.conftest import moto, moto_bucket
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

__all__ = ["moto", "moto_bucket"]
WIDER = {"image": 0.05, "text": 0.1, "direction": 0.1, "borderline": 0.01}
NARROWER = {"image": 0.3, "text": 0.3, "direction": 0.4, "borderline": 0.01}


def generated(root: Path, count: int = 9, **fields):
    run = create_run(LocalStore(root), recipe(**fields))
    plan = write_plan(run, triplets(count), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    result = run_job(run, plan, config, run_here(lambda _: StubSource()))
    assert result.sealed
    return run, plan, result.sealed


def files(root: Path) -> dict[str, str]:
    """The hash of all that lies there, but for selections."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and keys.SELECTIONS not in path.relative_to(root).as_posix()
    }


def select(root: Path | str, source, *words: str):
    """The command, with pictures made by a source; its exit code and what it said."""
    with patch("factory.verbs.machine.engine", lambda recipe, compute: source):
        done = CliRunner().invoke(app, ["select", str(root), *words, "--json"])
    return done.exit_code, json.loads(done.stdout or "null"), done.stderr


def settings(gates: dict[str, float], **more: object) -> list[str]:
    named = {f"recipe.thresholds.{name}": value for name, value in gates.items()} | more
    return [word for name, value in named.items() for word in ("--set", f"{name}={value}")]


@pytest.mark.parametrize(("gates", "most"), [(WIDER, 4), (NARROWER, 2)])
@pytest.mark.parametrize("codec", [{}, {"codec": {"format": "jpeg", "quality": 60}}])
def test_a_selection_is_what_generate_makes_with_these_gates(tmp_path, gates, most, codec):
    run, _, before = generated(tmp_path / "run", **codec)
    fresh, _, wanted = generated(tmp_path / "fresh", thresholds=gates, keep={"most": most}, **codec)
    lay = files(tmp_path / "run")
    words = settings(gates, **{"recipe.keep.most": most})
    code, said, _ = select(tmp_path / "run", StubSource(), *words, "--name", "other")
    assert code == 0
    assert said["sealed"]["manifest_hash"] == manifest_hash(fresh, wanted)
    there = open_run(str(tmp_path / "run" / "selections" / "other"))
    assert newest_manifest(there)[1] == wanted
    assert wanted.counts != before.counts
    pairs = {k: v for k, v in files(tmp_path / "fresh").items() if k.startswith("pairs/")}
    assert pairs.items() <= files(Path(there.uri)).items()
    # The run itself stays as it is, and both are read as any run.
    assert files(tmp_path / "run") == lay
    for one in (run, there):
        assert verify(one).damages == []
        assert (
            len(list(sealed_pairs(one, newest_manifest(one)[1])))
            == (newest_manifest(one)[1].counts["accepted"])
        )
        assert find_files(one.uri).is_sealed
    status = CliRunner().invoke(app, ["status", there.uri, "--json"])
    assert json.loads(status.stdout)["counts"]["accepted"] == wanted.counts["accepted"]


def test_only_what_is_newly_kept_is_made_again_as_a_dry_run_counts(tmp_path):
    run, *_ = generated(tmp_path)
    words = settings(WIDER, **{"recipe.keep.most": 3})
    code, told, _ = select(tmp_path, None, *words, "--dry-run")
    assert code == 0
    assert not (tmp_path / "selections").exists()
    source = StubSource()
    code, said, _ = select(tmp_path, source, *words, "--name", "more")
    assert code == 0
    assert said["counts"]["accepted"] == told["pairs"]
    assert len(source.made) == told["remade"] > 0
    assert len(set(source.made)) == len(source.made)
    assert told["reused"] + told["dropped"] == newest_manifest(run)[1].counts["accepted"]
    assert told["reused"] > 0
    # Again: nothing is left to do.
    source = StubSource()
    code, again, _ = select(tmp_path, source, *words, "--name", "more")
    assert (code, again["sealed"], source.made) == (0, said["sealed"], [])


def test_where_none_is_newly_kept_no_engine_is_loaded(tmp_path):
    run, *_ = generated(tmp_path)

    def never(recipe, compute):
        raise AssertionError("the engine was loaded")

    words = ["--set", "recipe.thresholds.direction=0.95"]
    counted = select(tmp_path, None, *words, "--dry-run")[1]
    assert counted["remade"] == 0 < counted["dropped"]
    with patch("factory.verbs.machine.engine", never):
        done = CliRunner().invoke(app, ["select", str(tmp_path), *words, "--name", "few", "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["accepted"] == counted["pairs"] > 0
    # Where its pictures are from is what its commits name.
    named = Candidates(open_run(place_of(run, "few"))).of([0])[1]
    assert named == StubSource().environment()


class Elsewhere(StubSource):
    """Another machine, on which every second candidate shows less of its edit."""

    def pairs(self, draws):
        for made in super().pairs(draws):
            if isinstance(made, Made) and made.draw.seed % 2:
                scores = Scores(**{**made.scores.model_dump(), "clip_sim_dir": -0.5})
                made = Made(made.draw, made.original, made.edited, scores, truncated=False)
            yield made


def test_one_that_passes_no_more_elsewhere_is_told_and_makes_room(tmp_path):
    run, *_ = generated(tmp_path, count=30)
    words = settings(WIDER)
    code, _, _ = select(tmp_path, Elsewhere(), *words, "--name", "elsewhere")
    assert code == 0
    here = select(tmp_path, StubSource(), *words, "--name", "here")[1]
    found = Candidates(open_run(place_of(run, "elsewhere")))
    known, own = Candidates(run), Candidates(open_run(place_of(run, "here")))
    rows, before, at_home = (one.of(range(15))[0] for one in (found, known, own))
    pairs = found.pairs(range(15))
    told = {name for name, row in rows.items() if RESCORED in (row.reason or "").split(",")}
    assert told
    most = run.recipe.keep.most
    for name in told:
        assert rows[name].clip_sim_dir == -0.5 != before[name].clip_sim_dir
        assert rows[name].reason == f"clip_sim_dir,{RESCORED}"
        assert at_home[name].verdict == "accepted"
    # All that were there to take its place were tried: none that passes is left while there is room.
    for triplet in {name[0] for name in told}:
        mine = {name: row for name, row in rows.items() if name[0] == triplet}
        kept = [name for name in mine if name in pairs]
        assert len(kept) == most or not [row for row in mine.values() if row.reason == "keep"]
    assert any(name in pairs and at_home[name].verdict != "accepted" for name in rows), (
        "another came in"
    )
    assert {name for name, row in rows.items() if row.verdict == "accepted"} == set(pairs)
    for name, pair in pairs.items():
        assert pair.clip_sim_dir == rows[name].clip_sim_dir
    assert verify(found.run).damages == []
    status = CliRunner().invoke(app, ["status", found.run.uri, "--json"])
    assert json.loads(status.stdout)["rejections"][RESCORED] == len(told)
    assert RESCORED not in here["rejections"]


def test_a_snapshot_with_gaps_and_a_list_that_grew_are_selected_from(tmp_path):
    run = create_run(LocalStore(tmp_path / "run"), recipe())
    plan = write_plan(run, triplets(5), 2)
    for unit in (0, 2):
        generate_unit(run, plan, unit, StubSource())
    lay_scores(run, plan, seal(run, plan, partial=True)[1])
    code, said, _ = select(tmp_path / "run", StubSource(), *settings(WIDER), "--name", "some")
    assert (code, said["triplets"]) == (0, 3)
    # The list grows in the middle of a unit; what was selected stays, the rest is added.
    plan = write_plan(run, triplets(9), 2, extend=True)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    assert run_job(run, plan, config, run_here(lambda _: StubSource())).sealed
    code, said, _ = select(tmp_path / "run", StubSource(), *settings(WIDER), "--name", "some")
    assert (code, said["triplets"], said["sealed"]["partial"]) == (0, 9, False)
    there = open_run(place_of(run, "some"))
    fresh, _, wanted = generated(tmp_path / "fresh", thresholds=WIDER)
    assert newest_manifest(there)[1].counts == wanted.counts
    by_name = [
        {(pair.triplet_id, pair.index): pair for pair in sealed_pairs(one, newest_manifest(one)[1])}
        for one in (there, fresh)
    ]
    assert by_name[0] == by_name[1]


def test_a_selection_can_be_selected_from_and_moved_with_its_run(tmp_path):
    generated(tmp_path / "run")
    assert select(tmp_path / "run", StubSource(), *settings(WIDER), "--name", "wide")[0] == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    wide = tmp_path / "moved" / "selections" / "wide"
    assert selected_run(open_run(str(wide))).uri == str(tmp_path / "moved")
    code, said, _ = select(wide, StubSource(), *settings(NARROWER), "--out", str(tmp_path / "few"))
    assert code == 0
    fresh, _, wanted = generated(tmp_path / "fresh", thresholds=NARROWER)
    assert said["sealed"]["manifest_hash"] == manifest_hash(fresh, wanted)
    assert selected_run(open_run(str(tmp_path / "few"))).uri == str(wide)


def test_a_run_in_a_bucket_is_selected_from(tmp_path, moto_bucket):
    fresh, _, wanted = generated(tmp_path / "fresh", thresholds=WIDER)
    run = create_run(open_store(f"{moto_bucket}/run"), recipe())
    plan = write_plan(run, triplets(9), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    assert run_job(run, plan, config, run_here(lambda _: StubSource())).sealed
    for words in (("--name", "wide"), ("--out", f"{moto_bucket}/wide")):
        code, said, _ = select(run.uri, StubSource(), *settings(WIDER), *words)
        assert code == 0
        assert said["sealed"]["manifest_hash"] == manifest_hash(fresh, wanted)
        assert verify(open_run(said["uri"])).damages == []


def test_another_runs_selection_is_left_alone(tmp_path):
    one, *_ = generated(tmp_path / "one")
    other, *_ = generated(tmp_path / "other", count=3)
    ours = create_run(LocalStore(tmp_path / "out"), recipe(thresholds=WIDER))
    write_selected(ours, one)
    with pytest.raises(InputError, match="holds a selection of another run"):
        write_selected(ours, other)
    (tmp_path / "one" / "RUN.json").unlink()
    (tmp_path / "other" / "RUN.json").rename(tmp_path / "one" / "RUN.json")
    assert selected_run(ours).recipe_hash == one.recipe_hash
    third = create_run(LocalStore(tmp_path / "third"), recipe(steps=7))
    (tmp_path / "one" / "RUN.json").write_bytes((tmp_path / "third" / "RUN.json").read_bytes())
    with pytest.raises(Damaged, match=f"lies one of {third.recipe_hash[:16]}"):
        selected_run(ours)


def test_a_pair_that_is_lost_is_told_by_its_key(tmp_path):
    run, plan, manifest = generated(tmp_path)
    candidates = Candidates(run)
    unit = next(u for u in plan.units if candidates.line(u).data_key)
    key = candidates.line(unit).data_key
    (tmp_path / key).unlink()
    wide = run.recipe.model_copy(update={"thresholds": recipe(thresholds=WIDER).thresholds})
    with pytest.raises(Damaged, match=f"{re.escape(key)}: named by the manifest, not there"):
        Reselector(wide, candidates, StubSource).make(unit, read_plan(run).items(unit))
