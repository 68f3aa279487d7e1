"""What a pipeline of diffusers makes of an editor."""

from unittest.mock import patch

import diffusers
import numpy as np
import torch
from PIL import Image

from factory import seeds
from factory.edits.editors.ip2p import load_editor
from schemas.recipe import ModelSource
from tests.trainer.small import SIDE

NOISE = "diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor"


def assert_it_edits(pipeline, picture):
    """Finite pictures of the right shape, that differ by their seeds."""
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    edits = [
        pipeline(
            "make it red", image=picture, num_inference_steps=3, output_type="np",
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        for seed in (0, 1)
    ]  # fmt: skip
    assert edits[0].shape == (SIDE, SIDE, 3)
    assert np.isfinite(edits).all()
    assert np.abs(edits[0] - edits[1]).max() > 0.01


def plain_pipeline(folder):
    """As its own documentation loads one, told nothing; all parts compute in one format."""
    found = diffusers.DiffusionPipeline.from_pretrained(str(folder))
    found.set_progress_bar_config(disable=True)
    networks = [part for part in found.components.values() if isinstance(part, torch.nn.Module)]
    assert {part.dtype for part in networks} == {torch.float32}
    return found


def assert_it_edits_as_we_do(folder, picture, instruction, *, steps, text=7.5, image=1.5):
    """Both samplers whole, from one noise, at the levels that each sets for itself; `picture` uint8."""
    editor = load_editor(ModelSource(source=str(folder)), "cpu")
    autoencoder = editor.networks.autoencoder.network
    factor = editor.networks.autoencoder.factor
    shape = (4, picture.shape[0] // factor, picture.shape[1] // factor)
    purposes = ["edit start", *(f"edit {i}" for i in range(steps))]
    noise = [torch.from_numpy(seeds.noise(5, p, shape))[None] for p in purposes]
    with patch.object(autoencoder, "decode", wraps=autoencoder.decode) as decode:
        (ours,) = editor.edit(
            torch.from_numpy(picture.copy()).permute(2, 0, 1)[None], [instruction], [5],
            steps=steps, text_guidance=text, image_guidance=image,
        )  # fmt: skip
    pipeline = plain_pipeline(folder)
    asked = {"image": Image.fromarray(picture), "num_inference_steps": steps, "output_type": "np"}
    if "XL" in type(pipeline).__name__:
        asked |= {"height": picture.shape[0], "width": picture.shape[1]}
    with (
        patch(NOISE, side_effect=noise[1:]),
        patch.object(pipeline.vae, "decode", wraps=pipeline.vae.decode) as theirs,
    ):
        (found,) = pipeline(
            instruction, latents=noise[0], guidance_scale=text, image_guidance_scale=image, **asked
        ).images
    latents = [of.call_args.args[0] * pipeline.vae.config.scaling_factor for of in (theirs, decode)]
    torch.testing.assert_close(*latents, rtol=1e-4, atol=1e-4)
    assert np.abs(np.rint(255 * found) - ours).max() <= 1
