"""`--check` of a training's commands: refused is what a start would refuse, and nothing is written."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from editmill import app
from factory.console.check import LOCAL_PATHS, UNSEEN
from factory.console.config import FIT_PRESETS, read_config
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import seal
from factory.storage.open import open_store
from schemas.ledger.stamped import to_stamped_json
from schemas.training.fit import Fit
from schemas.training.root import TrainingRecord
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets


def check(*words: str | Path, unseen: str = "[]") -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--check"], env={UNSEEN: unseen})


def files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A sealed run of stub pairs."""
    run = create_run(open_store(str(tmp_path / "run")), recipe())
    plan = write_plan(run, triplets(4), 2)
    for unit in plan.units:
        generate_unit(run, plan, unit, StubSource())
    seal(run, plan)
    return tmp_path / "run"


@pytest.mark.parametrize("verb", ["fit", "encode"])
def test_a_start_that_would_begin_passes_and_leaves_nothing(
    verb: str, dataset: Path, tmp_path: Path
) -> None:
    before = files(tmp_path)
    words = (verb, "--preset", "miniature", "--dataset", dataset, "--out", tmp_path / "out")
    done = check(*words)
    assert done.exit_code == 0, done.stderr
    assert files(tmp_path) == before
    for more, message in (
        (("--set", "law.stepz=1"), "unknown key 'law.stepz'"),
        (("--dataset", tmp_path / "none"), "must be a sealed run or hold .parquet files, got none"),
        (("--set", "law.model={source: /none}"), "/none: no such file or folder"),
        (("--out", "s3://"), "store: expected s3://bucket/prefix"),
    ):
        done = check(*words, *more)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    done = check(*words, "--set", "compute.max_workers=64")
    assert "compute.max_workers: must be at most law.batch, got 64 and 32" in done.stderr
    assert done.exit_code == 2


def test_a_dataset_that_is_yet_to_come_is_passed_over_and_the_preset_left_to_it(
    tmp_path: Path,
) -> None:
    dataset = tmp_path / "pairs"
    words = ("fit", "--dataset", dataset, "--out", tmp_path / "out")
    assert check(*words).exit_code == 2
    unseen = json.dumps([str(dataset)])
    done = check(*words, unseen=unseen)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == "--preset: is chosen where and when it runs, by the dataset\n"
    done = check(*words, "--preset", "miniature", unseen=json.dumps([LOCAL_PATHS]))
    assert done.exit_code == 0, done.stderr
    assert f"--dataset {dataset}: is looked at where and when it runs" in done.stderr
    assert check(*words, "--preset", "mini", unseen=unseen).exit_code == 2


def test_a_root_with_a_training_by_another_law_is_refused(dataset: Path, tmp_path: Path) -> None:
    law = read_config(Fit, FIT_PRESETS, "miniature", None, ["law.batch=16"]).law
    record = TrainingRecord(
        law=json.loads(law.model_dump_json()), law_hash=law.law_hash, dataset="another"
    )
    out = tmp_path / "out"
    open_store(str(out)).put("FIT.json", to_stamped_json(record))
    words = ("fit", "--preset", "miniature", "--dataset", dataset, "--out", out)
    done = check(*words)
    assert (done.exit_code, "differing: batch: 16 -> 32" in done.stderr) == (2, True), done.stderr
    assert check(*words, "--set", "law.batch=16").exit_code == 0


def test_latents_that_are_named_must_be_there(dataset: Path, tmp_path: Path) -> None:
    words = ("fit", "--preset", "miniature", "--dataset", dataset, "--out", tmp_path / "out")
    done = check(*words, "--latents", tmp_path / "none")
    assert (done.exit_code, "no run here" in done.stderr) == (2, True)


def test_an_evaluation_is_looked_at_before_it_is_begun(tmp_path: Path) -> None:
    out = tmp_path / "judged"
    done = check("evaluate", "--editor", "miniature/editor", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert files(tmp_path) == []
    for words, message in (
        (("--editor", tmp_path / "none"), "none: no such file or folder"),
        ((), "--editor or --sweep: must be given, got neither"),
        (("--sweep", "paper"), "--dataset or --requests: must be given with --sweep paper"),
        (("--editor", "miniature/editor", "--edits", "5000"), "--edits: must be at most"),
    ):
        done = check("evaluate", *words, "--out", out)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    (out / "_editmill").mkdir(parents=True)
    (out / "_editmill" / "thesis.txt").write_text("mine")
    done = check("evaluate", "--editor", "miniature/editor", "--out", out)
    assert (done.exit_code, "must be empty or a run of editmill" in done.stderr) == (2, True)
