"""The editor that ships with the miniature, as a stranger would use it."""

import json

import diffusers
import pytest
import torch
from transformers import CLIPTokenizer
from typer.testing import CliRunner

from editmill import app
from factory.console.config import read_config
from factory.edits.editors.ip2p import load_editor
from factory.miniature.oracle import matches
from factory.models.find import MINIATURE
from schemas.recipe import ModelSource
from schemas.training.fit import Fit
from tests.trainer.pipeline import assert_it_edits_as_we_do, plain_pipeline
from tests.trainer.small import objects
from tests.trainer.test_diffusers_script import sealed_run
from trainer.__main__ import PRESETS
from trainer.miniature.autoencoder import build_autoencoder
from trainer.miniature.diffusion import TrainedParts
from trainer.miniature.editing import judged_edits
from trainer.miniature.tasks import edit_figures, edit_tasks
from trainer.miniature.train import save_pipeline

torch.set_num_threads(1)
EDITS = 20
"""At 70 %, fewer than 10 of 20 would be right once in sixty times."""


@pytest.fixture(scope="module")
def sampler():
    return read_config(Fit, PRESETS, "miniature-editor", None, []).watching.sampler


@pytest.mark.long
def test_it_does_what_it_is_told_and_keeps_the_rest(sampler):
    editor = load_editor(ModelSource(source=str(MINIATURE / "editor")), "cpu")
    tasks, _, judged = judged_edits(editor, EDITS, sampler)
    figures = edit_figures(tasks, judged)
    assert figures["edit_accuracy"] >= 0.5
    assert figures["identity_share"] <= 0.1


@pytest.mark.slow
def test_so_does_what_the_demo_trains_on_from_it(tmp_path):
    """`make demo-train`, but for the pairs: those of the world itself."""
    sealed_run(tmp_path / "pairs")
    words = (
        f"fit --preset miniature-continued --dataset {tmp_path}/pairs --out {tmp_path}/out --json"
    )
    words += " --set compute.where=here --set compute.threads=1"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["step"] == 30
    lines = b"".join(objects(tmp_path / "out", "progress/").values()).decode().splitlines()
    (accuracy,) = (f["edit_accuracy"] for f in map(json.loads, lines) if "edit_accuracy" in f)
    assert accuracy >= 0.5
    (sheet,) = objects(tmp_path / "out", "sheets/")
    assert sheet == "sheets/000000030.png"


def test_diffusers_edits_with_it_as_we_do():
    task = edit_tasks(1)[0]
    assert_it_edits_as_we_do(
        MINIATURE / "editor", task.picture, task.instruction,
        steps=20, text=7.5, image=1.5,
    )  # fmt: skip


def test_the_text_to_image_model_is_a_pipeline_of_diffusers_that_may_be_stored_again(tmp_path):
    pipeline = plain_pipeline(MINIATURE / "text_to_image")
    assert type(pipeline) is diffusers.StableDiffusionPipeline
    caption = "a large red square on a green background"
    picture = pipeline(
        caption, num_inference_steps=12, guidance_scale=2.0, output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images[0]  # fmt: skip
    assert matches((255 * picture).round().astype("uint8"), caption)
    pipeline.save_pretrained(tmp_path)
    assert plain_pipeline(tmp_path).unet.config.in_channels == 4


def test_what_train_miniature_writes_are_the_shipped_folders_files_and_configs(tmp_path):
    shipped = MINIATURE / "text_to_image"
    tokenizer = CLIPTokenizer.from_pretrained(shipped / "tokenizer")
    vae = build_autoencoder().half()
    vae.save_pretrained(tmp_path / "vae")
    save_pipeline(TrainedParts(tokenizer), vae, tokenizer, tmp_path)
    names = [{f.relative_to(at) for f in at.rglob("*.*")} for at in (tmp_path, shipped)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.suffix == ".json":
            written, there = (json.loads((at / name).read_text()) for at in (tmp_path, shipped))
            written.pop("_name_or_path", None)
            kept = there | {"scaling_factor": written.get("scaling_factor")}  # measured
            assert written == (kept if name.parts[0] == "vae" else there), name
