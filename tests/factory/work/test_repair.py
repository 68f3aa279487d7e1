"""Damage is told with 5, `verify --repair` opens what is damaged, and a rerun makes the same bytes."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from editmill import app
from factory.errors import EditmillError, NeedsRepair
from factory.ledger import keys
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.storage.local import LocalStore
from factory.storage.probe import probe
from schemas.config import Config
from tests.chaos.subjects.encoding import StubbedEncoder
from tests.factory.work.test_toy_stage import Shouted
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets
from tests.trainer.encoded import configuration, write_dataset
from trainer.latents.encode import encode_dataset


class Pairs:
    """A run of `generate` with five units, two a segment, of which unit 1 will be damaged."""

    def __init__(self, folder, commits="conditional"):
        self.root, self.commits = folder / "run", commits
        self.data = "pairs"

    def make(self):
        run = create_run(LocalStore(self.root), recipe(unit_triplets=1), self.commits)
        plan = write_plan(run, triplets(5), 1)
        config = Config(recipe=run.recipe)
        try:
            result = run_job(run, plan, config, run_here(lambda _: StubSource()))
        except NeedsRepair as error:
            return error.exit_code, None, 0
        return result.exit_code, result.manifest_hash, result.units_made


class Latents:
    """A root of latents, likewise."""

    def __init__(self, folder, commits="conditional"):
        self.root, self.folder = folder / "latents", folder
        self.data = "data"
        self.dataset = write_dataset(folder / "pairs")
        torch.set_num_threads(1)

    def make(self):
        before = commits(self.root) if self.root.exists() else set()
        try:
            latents = encode_dataset(configuration(), self.dataset, str(self.root))
        except NeedsRepair as error:
            return error.exit_code, None, 0
        manifest = json.dumps([unit.line.model_dump() for unit in latents.units])
        return 0, manifest, len(commits(self.root) - before)


def commits(root):
    return {path.name for path in root.glob("commits/*/*")}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """What is repaired are files; real networks would take seconds to load, again and again."""
    stub = StubbedEncoder(configuration().law, 0)
    monkeypatch.setattr("trainer.latents.encode.Encoder.of", lambda law, compute: stub)


@pytest.fixture(params=[Pairs, Latents])
def made(request, tmp_path, monkeypatch, small_units):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)
    root = request.param(tmp_path)
    assert root.make()[0] == 0
    return root


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr("trainer.latents.slices.MOST_ROWS", 3)
    monkeypatch.setattr("trainer.latents.slices.LEAST_ROWS", 3)


def call(code, *words):
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def data_of(root, unit):
    (path,) = root.root.glob(f"{root.data}/{unit:08d}-*")
    return path


def commit_of(root, unit):
    return root.root / keys.commit(unit)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("of", "how"),
    [
        (data_of, "lost"),
        (data_of, "flipped"),
        (commit_of, "flipped"),
        (commit_of, "lost"),
    ],
    ids=["data lost", "data flipped", "commit flipped", "commit lost"],
)
def test_a_damaged_unit_is_opened_again_and_made_as_it_was(made, of, how):
    _, manifest, _ = made.make()
    path = of(made, 2)
    whole = path.read_bytes()
    path.unlink() if how == "lost" else flip(path)
    damaged = path.read_bytes() if path.exists() else None
    assert "verify --repair` opens 1 unit again" in call(5, "verify", made.root)
    assert "opened again: 1 unit" in call(3, "verify", made.root, "--repair")
    state = json.loads(call(0, "status", made.root, "--json"))
    assert state["committed_units"] == state["units"] - 1
    assert made.make() == (0, manifest, 1)
    call(0, "verify", made.root)
    # What was damaged is kept: a commit where it is, data beside.
    if damaged is not None:
        kept = [at.read_bytes() for at in made.root.glob("damaged/*")]
        assert damaged in kept if of is data_of else path.read_bytes() == damaged
    if of is data_of:
        assert path.read_bytes() == whole
    call(0, "verify", made.root, "--repair")
    assert made.make() == (0, manifest, 0)


def test_every_rerun_says_5_until_it_is_repaired(made):
    """Its manifest is gone as well, so that a rerun has to seal anew."""
    for path in (*made.root.glob("manifest/*.json"), *made.root.glob("segments/*")):
        path.unlink()
    data_of(made, 2).unlink()
    for _ in range(2):
        assert made.make()[0] == 5
    output = call(5, "seal", made.root)
    assert "commit names" in output
    snapshot = call(0, "seal", made.root, "--partial")
    assert "left out: unit 2:" in snapshot
    call(3, "verify", made.root, "--repair")
    assert made.make()[0] == 0


def test_a_snapshot_leaves_a_unit_out_whose_commit_is_flipped(made):
    for path in (*made.root.glob("manifest/*.json"), *made.root.glob("segments/*")):
        path.unlink()
    flip(commit_of(made, 3))
    run = open_run(str(made.root))
    plan = read_plan(run)
    with pytest.raises(NeedsRepair, match="not a whole commit"):
        seal(run, plan)
    left_out = {}
    _, manifest = seal(run, plan, partial=True, left_out=left_out)
    assert manifest.partial
    assert manifest.units == len(plan.units) - 1
    assert list(left_out) == [3]


@pytest.mark.parametrize("of", [Pairs, Latents])
def test_on_a_weak_store_two_of_five_are_opened_where_no_whole_attempt_is_left(
    tmp_path, monkeypatch, small_units, of
):
    """Another whole attempt of a unit would count."""
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)
    weak = replace(probe(LocalStore(tmp_path / "probed")), commits="weak")
    monkeypatch.setattr("factory.work.job.probe", lambda store: weak)
    root = of(tmp_path, "sealed")
    _, manifest, _ = root.make()
    for unit in (1, 3):
        (attempt,) = root.root.glob(f"commits/*/{unit:08d}/*")
        flip(attempt)
        assert f"{unit:08d}" in call(5, "verify", root.root)
    assert "opened again: 2 units" in call(3, "verify", root.root, "--repair")
    assert root.make() == (0, manifest, 2)
    call(0, "verify", root.root)


def test_objects_around_a_root_are_repaired_too(tmp_path):
    shouted = Shouted(tmp_path)
    shouted.hush(3)
    shouted.start()
    (shouted.hushed / "line3").unlink()
    shouted.result = shouted.start(retry_failed=True)
    (shouted.out / "line4.txt").write_text("changed")
    (shouted.out / "line6.txt").unlink()
    call(5, "verify", shouted.out)
    call(3, "verify", shouted.out, "--repair")
    again = shouted.start()
    assert again.manifest_hash != shouted.result.manifest_hash  # no retry stands behind it now
    assert again.sealed.counts == {"done": 7, "failed": 0}
    assert shouted.files == {f"line{n}.txt": f"WORDS {n}" for n in range(7)}
    kept = [path.read_text() for path in (shouted.out / "_editmill/damaged").iterdir()]
    assert kept == ["changed"]
    call(0, "verify", shouted.out)


def test_two_who_repair_open_a_unit_once(made):
    from factory.ledger.units.reopen import repair
    from factory.ledger.verify.run import verify

    data_of(made, 2).unlink()
    run = open_run(str(made.root))
    found = verify(run)
    assert repair(run, found) == (2,)
    assert read_plan(run).generation(2) == 1
    # The second one had looked before: the unit is open, so nothing of it is damaged any more.
    assert verify(run).broken == {}


def test_a_unit_that_another_makes_beside_counts_once(tmp_path):
    made = Pairs(tmp_path)
    assert made.make()[0] == 0
    data_of(made, 2).unlink()
    call(3, "verify", made.root, "--repair")
    run = open_run(str(made.root))
    plan = read_plan(run)
    assert generate_unit(run, plan, 2, StubSource()).made
    assert not generate_unit(run, plan, 2, StubSource()).made


def test_what_was_sealed_before_does_not_stand_for_a_unit_that_is_open_again(tmp_path, small_units):
    """Interrupted before it is made, `encode` has not encoded all, whatever an older manifest lists."""
    made = Latents(tmp_path)
    assert made.make()[0] == 0
    data_of(made, 2).unlink()
    call(3, "verify", made.root, "--repair")

    def nobody(stage):
        return lambda *_: iter(())

    with pytest.raises(EditmillError, match="1 of 5 units are not committed") as ended:
        encode_dataset(configuration(), made.dataset, str(made.root), nobody)
    assert ended.value.exit_code == 3
    assert made.make()[0] == 0


def test_a_start_that_ends_at_its_limit_tells_of_damage_that_its_snapshot_leaves_out(tmp_path):
    run = create_run(LocalStore(tmp_path / "run"), recipe(unit_triplets=1))
    plan = write_plan(run, triplets(5), 1)
    config = Config(recipe=run.recipe, budget={"limit": 3})
    assert run_job(run, plan, config, run_here(lambda _: StubSource())).exit_code == 0
    (path,) = (tmp_path / "run").glob("pairs/00000001-*")
    path.unlink()
    for path in (tmp_path / "run").glob("manifest/*.json"):
        path.unlink()
    result = run_job(run, plan, config, run_here(lambda _: StubSource()))
    assert result.exit_code == 5
    assert "unit 1's commit names" in result.message
    assert result.sealed.units == 2
