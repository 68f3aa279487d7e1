"""The editor's network: a text-to-image UNet that also sees the picture to be edited."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerAncestralDiscreteScheduler, ModelMixin
from torch import nn
from transformers import PreTrainedModel

from factory.engine.text.encoder import TextEncoder
from factory.engine.text.xl import TextEncoderXl
from factory.errors import ModelError
from factory.models.configs import read_config
from factory.models.editor import EDITOR_CHANNELS, LATENT_CHANNELS

FILE_BYTES = 4 * 10**9
"""A larger network is written as several files and an index: S3 takes 5 GiB in one piece. Stable Diffusion
1.5's UNet is one file, XL's three."""


def widen(unet: Any) -> None:
    """Give a text-to-image UNet the picture's channels, in place; an editor's is left as it is.

    The new channels' weights are zero, all else is kept, the bias included: at first the network is
    the one that it was. Source: InstructPix2Pix `ddpm_edit.py` (init_from_ckpt). diffusers' script
    leaves the bias random. Raises `ModelError` for any other number of channels.
    """
    old = unet.conv_in
    if old.in_channels == EDITOR_CHANNELS:
        return
    if old.in_channels != LATENT_CHANNELS:
        raise ModelError(
            f"law.model: its UNet must have {LATENT_CHANNELS} input channels, or {EDITOR_CHANNELS} "
            f"of an editor, got {old.in_channels}"
        )
    new = nn.Conv2d(EDITOR_CHANNELS, old.out_channels, old.kernel_size, old.stride, old.padding).to(
        old.weight
    )
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :LATENT_CHANNELS].copy_(old.weight)
        if new.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=EDITOR_CHANNELS)


SAMPLING = {
    "timestep_spacing": "linspace",
    "steps_offset": 0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "clip_sample": False,
    "thresholding": False,
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
}
"""What an editor's scheduler is told beside the noise schedule, whatever its base's was: our sampler walks
from the last timestep to 0 and clips nothing. Other solvers of diffusers take theirs from there, too."""


def write_editor(
    folder: Path, unet: Any, autoencoder: Any, text: TextEncoder, scheduler: Mapping[str, Any]
) -> None:
    """A folder that diffusers' `StableDiffusionInstructPix2PixPipeline.from_pretrained` loads, or of
    XL's networks its `StableDiffusionXLInstructPix2PixPipeline`, and edits with as we do.

    The noise schedule is given in diffusers' fields; the folder's scheduler takes Euler ancestral steps.
    A single step is the one that differs: diffusers' begins at timestep 0, ours at the last.
    """
    noise = {
        "num_train_timesteps": scheduler.get("num_train_timesteps", 1000),
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        **{key: scheduler[key] for key in ("beta_schedule", "beta_start", "beta_end")},
    }
    parts = {"unet": unet, "vae": autoencoder, **text.parts}
    parts["scheduler"] = EulerAncestralDiscreteScheduler.from_config(noise | SAMPLING)
    kind, more = "StableDiffusionInstructPix2PixPipeline", NO_CHECKER
    if isinstance(text, TextEncoderXl):
        kind, more = (
            "StableDiffusionXLInstructPix2PixPipeline",
            {"force_zeros_for_empty_prompt": text.zeros},
        )
    for name, part in parts.items():
        write_part(folder / name, part)
    write_index(folder, kind, parts, more)


NO_CHECKER: Mapping[str, Any] = {
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
}
"""What Stable Diffusion 1.x' and 2.x' pipelines ask for and do without."""


def write_part(folder: Path, part: Any) -> None:
    """A network, tokenizer or scheduler of a pipeline, in its own library's format.

    diffusers loads its own networks in float32 and a text encoder in the format that its config names;
    so that a pipeline has one where nothing is said, float32 stands there, however the weights are stored.
    """
    if hasattr(part, "backend_tokenizer"):
        # Or it would be stored with what it was last used for.
        part.backend_tokenizer.no_truncation()
        part.backend_tokenizer.no_padding()
    if isinstance(part, ModelMixin):
        # Or it would tell from which folder of this machine it was loaded.
        part.register_to_config(_name_or_path="")
    cut = {"max_shard_size": FILE_BYTES} if isinstance(part, nn.Module) else {}
    part.save_pretrained(folder, **cut)
    if isinstance(part, PreTrainedModel):
        file = folder / "config.json"
        fields = read_config(file) | {"dtype": "float32"}
        file.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def write_index(folder: Path, kind: str, parts: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """`model_index.json`: a pipeline's class, its parts' by their folders, and its further fields."""
    index = {"_class_name": kind, **more}
    for name, part in parts.items():
        index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
