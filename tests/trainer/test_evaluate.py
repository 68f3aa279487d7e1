"""`editmill evaluate` as it is called, on networks with random weights."""

import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from editmill import app
from factory.edits.editors.ip2p import load_editor
from factory.engine.checkpoint.load import load_text_to_image
from factory.miniature.oracle import ORACLE_VERSION
from schemas.recipe import ModelSource
from schemas.training.fit import Sampler
from tests.trainer.encoded import model
from tests.trainer.small import write_pairs
from trainer.evaluation.measures.scores import l1
from trainer.learning.editor import widen, write_editor
from trainer.miniature.editing import judged_edits

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editor")
    parts = load_text_to_image(ModelSource(source=model()), None, torch.float32)
    widen(parts.unet)
    write_editor(folder, parts.unet, parts.autoencoder, parts.text, parts.scheduler)
    return folder


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def evaluate(editor, out, *more):
    few = ["--edits", 3, "--set", "watching.sampler={steps: 2}", "--set", "compute.threads=1"]
    return call("evaluate", "--preset", "miniature", "--editor", editor, "--out", out, *few, *more)


@pytest.mark.long
def test_the_oracle_reads_nothing_in_what_random_weights_make(editor, tmp_path):
    result = evaluate(editor, tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "evaluation.json").read_bytes())
    assert (report["edits"], report["unreadable"], report["edit_accuracy"]) == (3, 1.0, 0.0)
    assert (report["sampler"]["steps"], report["oracle_version"]) == (2, ORACLE_VERSION)
    assert all(len(digest) == 64 for digest in report["files"].values())
    lines = (tmp_path / "out" / "edits.jsonl").read_text().splitlines()
    assert [json.loads(line)["unreadable"] for line in lines] == [True] * 3
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 3 * 2 * 64


@pytest.mark.long
def test_the_same_editor_is_judged_alike_twice(editor, tmp_path):
    for name in ("a", "b"):
        assert evaluate(editor, tmp_path / name).exit_code == 0
    first, second = ((tmp_path / name / "sheet.png").read_bytes() for name in ("a", "b"))
    assert first == second


@pytest.mark.long
def test_the_stage_edits_as_a_training_watches_its_editor(editor, tmp_path):
    """Same noise, same pictures: up to what a batch of another shape changes in the last bits."""
    assert evaluate(editor, tmp_path / "out").exit_code == 0
    point = json.loads((tmp_path / "out" / "report.json").read_bytes())["points"][0]
    watched = load_editor(ModelSource(source=str(editor)), "cpu")
    tasks, edits, _ = judged_edits(watched, 3, Sampler(steps=2))
    apart = [l1(task.picture, edit) for task, edit in zip(tasks, edits, strict=True)]
    assert point["l1"]["value"] == pytest.approx(sum(apart) / 3, abs=1e-4)
    assert point["l1"]["low"] < point["l1"]["high"]


@pytest.mark.long
def test_an_evaluation_is_gone_on_with_and_no_other_begun_in_its_place(editor, tmp_path):
    for _ in range(2):
        result = evaluate(editor, tmp_path / "out")
        assert result.exit_code == 0
    assert "resuming: 1 of 1 units are committed" in result.stderr
    other = evaluate(editor, tmp_path / "out", "--set", "watching.sampler.text_guidance=3")
    assert other.exit_code == 2
    assert "holds a run with another recipe; differing: entrants" in other.stderr


def test_a_text_to_image_model_is_no_editor(tmp_path):
    result = evaluate(model(), tmp_path / "out")
    assert result.exit_code == 2
    assert "an editor's UNet must have 8 input channels, got 4" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_start_says_first_what_is_judged_and_how(editor, tmp_path):
    result = evaluate(editor, tmp_path / "out")
    assert "edits 3 held-out scenes, 3 at once\n1 unit to make; " in result.stderr
    assert (
        f"preset miniature: {editor}, 2 steps, guidance 7.5 for the instruction and 1.5 for the picture; "
        "watching.sampler={steps: 2}, compute.threads=1\n"
    ) in result.stderr


@pytest.mark.parametrize(
    ("written", "hint"),
    [(True, "give {}/editor"), (False, "its editor is not written yet: `fit` goes on")],
)
def test_a_training_is_not_the_editor_in_it(written, hint, tmp_path):
    root = tmp_path / "training"
    (root / "editor").mkdir(parents=True)
    (root / "FIT.json").write_text("{}")
    if written:
        (root / "editor" / "model_index.json").write_text("{}")
    result = evaluate(f"{root}/", tmp_path / "out")
    assert result.exit_code == 2
    got = f"editmill: {root}/: must be an editor, got the training of one; {hint.format(root)}\n"
    assert result.stderr == got
    assert not (tmp_path / "out").exists()


def test_a_training_of_another_size_has_no_oracle(tmp_path):
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", tmp_path / "out"]
    arguments += ["--preset", "miniature", "--set", "law.size_px=16"]
    result = call("fit", *arguments)
    assert result.exit_code == 2
    assert "watching.oracle_edits: the oracle reads 64 px pictures" in result.output
    assert not (tmp_path / "out").exists()
