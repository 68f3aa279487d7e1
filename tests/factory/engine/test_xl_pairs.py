"""Pairs on Stable Diffusion XL: what diffusers' own pipeline samples, and with shared attention."""

import gc
import json
from unittest.mock import patch

import diffusers
import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from typer.testing import CliRunner

from editmill import app
from factory import seeds
from factory.errors import ModelError
from factory.models.pin import pin
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.source import Made
from schemas.config import Config
from schemas.recipe import Lora, ModelSource
from tests.factory.engine.family import CAPTIONS, draw, recipe, sample, save_family
from tests.factory.engine.tiny import LATENT_SIDE
from tests.factory.engine.tiny_xl import tiny_xl

torch.set_num_threads(1)
NOISE = "diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor"
STEPS, SHAPE = 4, (4, LATENT_SIDE, LATENT_SIDE)


@pytest.fixture(scope="module", params=[True, False], ids=["zeros", "empty prompt"])
def family(request, tmp_path_factory):
    """A random XL whose withheld prompt is zeros, or the empty prompt; and its pipeline."""
    folder = tmp_path_factory.mktemp("family")
    pipeline = tiny_xl(save_family(folder) / "xl", zeros=request.param)
    pipeline.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace"
    )
    return folder, pipeline


def of_family(folder, **fields):
    given = {"dtype": "float32", "steps": STEPS} | fields
    return pin(recipe(folder, text_to_image=ModelSource(source=str(folder / "xl")), **given))


def by_diffusers(pipeline, prompt, seed, guidance):
    """Its latents, on the noise that the engine draws."""
    purposes = ["start", *map(str, range(STEPS))]
    noise = [torch.from_numpy(seeds.noise(seed, purpose, SHAPE))[None] for purpose in purposes]
    side = LATENT_SIDE * 2
    with patch(NOISE, side_effect=noise[1:]):
        return pipeline(
            prompt, latents=noise[0], guidance_scale=guidance, num_inference_steps=STEPS,
            height=side, width=side, output_type="latent",
        ).images[0]  # fmt: skip


def test_both_pictures_of_a_pair_are_the_pipelines(family):
    folder, pipeline = family
    (pair,) = sample(
        of_family(folder, attention="none"), [draw(CAPTIONS[0], 3, guidance=5.0)], 2
    ).values()
    for latent, prompt in zip(pair, CAPTIONS[0], strict=True):
        expected = by_diffusers(pipeline, prompt, 3, 5.0)
        scale = expected.abs().max()
        torch.testing.assert_close(latent / scale, expected / scale, rtol=0, atol=1e-4)


def test_sharing_attention_moves_the_edited_picture_alone(family):
    folder, _ = family
    free, shared = (
        sample(of_family(folder), [draw(CAPTIONS[0], 3, p=p)], 2)[3] for p in (0.0, 0.9)
    )
    assert torch.equal(free[0], shared[0])
    assert not torch.equal(free[1], shared[1])
    (same,) = sample(of_family(folder), [draw((CAPTIONS[0][0],) * 2, 4, p=0.9)], 2).values()
    torch.testing.assert_close(same[0], same[1], rtol=0, atol=1e-5)


def test_a_pair_is_made_and_scored(family):
    source = PromptToPrompt(of_family(family[0]), device="cpu", batch_pairs=2)
    (made,) = source.pairs([draw(CAPTIONS[0], 5)])
    assert isinstance(made, Made)
    assert np.asarray(made.edited).std() > 0


def test_the_stage_makes_a_run_of_it_and_again_the_same(family, tmp_path):
    """As a user does, by a file and the command."""
    folder, _ = family
    of = recipe(
        folder, text_to_image=ModelSource(source=str(folder / "xl")), dtype="float32", steps=2
    )
    config = Config(recipe=of, compute={"where": "here", "device": "cpu", "threads": 1})
    (tmp_path / "config.json").write_text(config.model_dump_json(exclude_none=True))
    given = [
        {"original_prompt": a, "edit_prompt": "e", "edited_prompt": b} for a, b in CAPTIONS[:2]
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, given)))
    manifests = []
    for name in ("once", "again"):
        words = (
            *("--config", tmp_path / "config.json", "--triplets", tmp_path / "t.jsonl"),
            *("--out", tmp_path / name, "--json"),
        )
        done = CliRunner().invoke(app, ["generate", *map(str, words)])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["message"] == "sealed: 4 pairs"
        manifests.append(found["sealed"])
    assert manifests[0] == manifests[1]


def test_loras_are_refused_before_anything_is_loaded(family):
    with pytest.raises(ModelError, match=r"recipe\.loras: must be none with .* XL, got 1; merge"):
        of_family(family[0], loras=(Lora(source="somewhere.safetensors"),))


FULL = {
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
"""`stabilityai/stable-diffusion-xl-base-1.0`, unet/config.json."""
WIDTHS = {"text_encoder": (768, 12, 12), "text_encoder_2": (1280, 32, 20)}
"""Of its text encoders: width, layers, heads."""


def random(kind, config):
    """A model with weights of its size, drawn where it lies."""
    with torch.device("meta"):
        model = (
            kind(config) if kind.__module__.startswith("transformers") else kind.from_config(config)
        )
    model = model.to(torch.bfloat16).to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        scale = 0.02 if weight.ndim > 1 else 0.0
        weight.data.normal_(
            1.0 if name.endswith("norm.weight") else 0.0, scale, generator=generator
        )
    return model


@pytest.mark.slow
def test_a_pair_at_full_size(tmp_path):
    """Random weights through the very loading code: 2.6 billion of the network alone."""
    small = save_family(tmp_path)
    tiny_xl(small / "xl")
    folder = small / "xl"
    fields = json.loads((folder / "unet" / "config.json").read_text())
    random(diffusers.UNet2DConditionModel, fields | FULL).save_pretrained(folder / "unet")
    for part, kind in (
        ("text_encoder", CLIPTextModel),
        ("text_encoder_2", CLIPTextModelWithProjection),
    ):
        width, layers, heads = WIDTHS[part]
        config = CLIPTextConfig.from_pretrained(folder / part)
        config.hidden_size, config.intermediate_size = width, 4 * width
        config.num_hidden_layers, config.num_attention_heads = layers, heads
        config.projection_dim = 1280
        random(kind, config).save_pretrained(folder / part)
    gc.collect()
    of = of_family(small, dtype="bfloat16", steps=1, size_px=64)
    source = PromptToPrompt(of, device="cpu", batch_pairs=1, decode_pairs=1)
    unet = source.engine.models.unet
    assert sum(weight.numel() for weight in unet.parameters()) == 2_567_463_684
    (made,) = source.pairs([draw(CAPTIONS[0], 1)])
    assert isinstance(made, Made)
    assert made.edited.shape == (64, 64, 3)
