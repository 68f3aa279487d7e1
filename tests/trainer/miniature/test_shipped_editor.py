"""The editor that ships with the miniature, as a stranger would use it."""

import diffusers
import pytest
import torch
from PIL import Image

from factory.config import read_config
from factory.miniature.oracle import judge
from factory.model_files import MINIATURE
from schemas.fit import Fit
from schemas.recipe import ModelSource
from trainer.__main__ import PRESETS
from trainer.evaluate import load_editor
from trainer.miniature.editing import edit_figures, edit_tasks, judged_edits

torch.set_num_threads(1)
EDITS = 30
"""At 70 %, fewer than 15 of 30 would be right once in a hundred times."""


@pytest.fixture(scope="module")
def sampler():
    return read_config(Fit, PRESETS, "miniature-editor", None, []).watching.sampler


def test_it_does_what_it_is_told_and_keeps_the_rest(sampler):
    editor, _ = load_editor(ModelSource(source="miniature/editor"), "cpu")
    tasks, _, judged = judged_edits(editor, EDITS, sampler)
    figures = edit_figures(tasks, judged)
    assert figures["edit_accuracy"] >= 0.5
    assert figures["identity_share"] <= 0.1


def test_the_pipeline_of_diffusers_edits_with_it(sampler):
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(
        str(MINIATURE / "editor"), local_files_only=True, torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    done = 0
    for number, task in enumerate(edit_tasks(10)):
        edit = pipeline(
            task.instruction,
            image=Image.fromarray(task.picture),
            num_inference_steps=sampler.steps,
            guidance_scale=sampler.text_guidance,
            image_guidance_scale=sampler.image_guidance,
            generator=torch.Generator().manual_seed(number),
            output_type="np",
        ).images[0]
        pixels = (255 * edit).round().astype("uint8")
        done += judge(task.picture, pixels, task.original_prompt, task.edited_prompt).true
    assert done >= 4
