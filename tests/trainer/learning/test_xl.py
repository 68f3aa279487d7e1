"""Stable Diffusion XL's law, against diffusers' own pipeline, which is what will ask the network."""

from functools import partial
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch

from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import conditioning
from schemas.recipe import ModelSource
from schemas.training.fit import Where
from tests.factory.engine.tiny_xl import SCALING_FACTOR, tiny_xl
from tests.trainer.learning.test_objective import ITEMS, PAIRS, Pictures
from tests.trainer.pipeline import assert_it_edits_as_we_do
from tests.trainer.reference_law import reference_step
from tests.trainer.small import small
from trainer.feeding.feed import parts_of
from trainer.learning.conditions import Conditions
from trainer.learning.editor import widen, write_editor
from trainer.learning.group import Group, Workplace
from trainer.learning.objective import Objective
from trainer.learning.state import State
from trainer.loop import Loop

torch.set_num_threads(1)


def load(folder, dtype=torch.float64):
    """Through the code that a training uses."""
    return load_text_to_image(ModelSource(source=str(folder)), None, dtype)


def editing(parts):
    """An editor whose new channels are not zero, so that they count."""
    widen(parts.unet)
    with torch.no_grad():
        parts.unet.conv_in.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(8))
    return parts.unet.requires_grad_(True).train()


def tell(pipeline, parts, instruction, size):
    """What diffusers' pipeline tells its UNet of an instruction, and of none."""
    size = tuple(size)
    with torch.no_grad():
        tokens, no_tokens, pooled, no_pooled = pipeline.encode_prompt(instruction or "")
    sizes = pipeline._get_add_time_ids(size, (0, 0), size, tokens.dtype, pooled.shape[1])
    return {
        "encoder_hidden_states": no_tokens if instruction is None else tokens,
        "added_cond_kwargs": {
            "text_embeds": no_pooled if instruction is None else pooled,
            "time_ids": sizes,
        },
    }


@pytest.fixture(scope="module", params=[True, False], ids=["zeros", "empty prompt"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("xl")
    return folder, tiny_xl(folder, dtype=torch.float64, zeros=request.param)


def test_loss_and_gradients_equal_the_reference(model):
    folder, pipeline = model
    stored = SimpleNamespace(vae=pipeline.vae, prediction_type="epsilon")
    theirs = editing(load(folder))
    expected, gradients = reference_step(stored, theirs, PAIRS, ITEMS, partial(tell, pipeline))
    parts = load(folder)
    unet = editing(parts)
    law = small(False, law={"dtype": "float64", "batch": len(ITEMS), "clip_norm": None}).law
    conditions = Conditions(parts.autoencoder, parts.text)
    assert conditions.autoencoder.scaling == SCALING_FACTOR
    reader = Pictures(conditions)
    at = Workplace(law, Where(micro_batch=4), torch.device("cpu"), Group())
    loop = Loop(
        unet, State(unet, law),
        Objective(NoiseSchedule.from_config(parts.scheduler), conditions.autoencoder.scaling), None, reader,
        at,
    )  # fmt: skip
    seen = [reader.seen(item) for item in ITEMS]
    loss, _ = loop._gradients(parts_of(reader, seen, at))
    assert loss == pytest.approx(expected, abs=1e-9)
    found = {name: p.grad for name, p in unet.named_parameters()}
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9, msg=name)
    assert found["add_embedding.linear_1.weight"].abs().max() > 1e-6


def test_words_nothing_and_sizes_are_the_pipelines(model):
    folder, pipeline = model
    text = load(folder).text
    like = torch.zeros((), dtype=torch.float64)
    for instruction in ("make it red", "", None):
        words = text.nothing() if instruction is None else text.words(instruction)
        expected = tell(pipeline, None, instruction, (24, 16))
        context, added = conditioning([words], 24, 16, like)
        close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
        close(context, expected["encoder_hidden_states"])
        close(added["text_embeds"], expected["added_cond_kwargs"]["text_embeds"])
        assert torch.equal(added["time_ids"], expected["added_cond_kwargs"]["time_ids"])
    assert text.words("").tokens.abs().max() > 0.1
    assert bool(text.nothing().tokens.any()) != text.zeros


def test_an_editor_says_what_a_withheld_instruction_becomes_as_its_base(model, tmp_path):
    folder, pipeline = model
    parts = load(folder)
    widen(parts.unet)
    write_editor(tmp_path, parts.unet, parts.autoencoder, parts.text, pipeline.scheduler.config)
    kind = diffusers.StableDiffusionXLInstructPix2PixPipeline
    written = kind.from_pretrained(str(tmp_path), local_files_only=True, add_watermarker=False)
    assert written.config.force_zeros_for_empty_prompt == parts.text.zeros
    assert load(tmp_path).text.zeros == pipeline.config.force_zeros_for_empty_prompt


def test_a_written_editor_edits_in_diffusers_as_here_whatever_its_base_walks(model, tmp_path):
    folder, pipeline = model
    assert pipeline.scheduler.config.timestep_spacing == "leading"
    parts = load(folder)
    editing(parts)
    write_editor(tmp_path, parts.unet, parts.autoencoder, parts.text, pipeline.scheduler.config)
    picture = np.random.default_rng(3).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    assert_it_edits_as_we_do(tmp_path, picture, "make it red", steps=4, text=1.5)
