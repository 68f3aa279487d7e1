"""Single files in CompVis' layout: which family a checkpoint is of, read from its header alone.

A family is the architecture's numbers in diffusers' own fields (`families/*.json`), so that nothing
is fetched. Of SD 2.x the weights do not say what they predict: the recipe names the family.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.configs import read_config
from factory.models.safetensors_header import read_shapes

FAMILIES = Path(__file__).parent / "families"
NAMES = ("sd-1", "sd-2-base", "sd-2-v")
"""Stable Diffusion 1.x; 2.x that predicts the noise (512 px); 2.x that predicts v (768 px)."""

UNET = "model.diffusion_model."
AUTOENCODER = "first_stage_model."
HF_CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."
"""Where a checkpoint keeps its parts; SD 1.x has OpenAI's text encoder, SD 2.x open_clip's."""
AUTOENCODER_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

_OTHER_INPUTS = {
    5: "a depth model's",
    7: "an upscaler's",
    8: "an instruction editor's (InstructPix2Pix)",
    9: "an inpainting model's",
}


def family_fields(family: str) -> dict[str, Any]:
    """The numbers of a family's parts: unet, text_encoder, tokenizer, scheduler."""
    return _fields(FAMILIES / f"{family}.json")


def autoencoder_fields() -> dict[str, Any]:
    """The numbers of the one autoencoder that all families share."""
    return _fields(FAMILIES / "autoencoder.json")


@cache
def _fields(file: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(file.read_text())
    return fields


def checkpoint_family(file: Path, name: str | None, *, with_autoencoder: bool) -> str:
    """The family of a text-to-image checkpoint, as its shapes and the recipe's `name` say.

    `with_autoencoder` asks for one in the file. Raises `ModelError` for other models, for files
    without a part, and where `name` is needed or contradicts the shapes.
    """
    shapes = read_shapes(file)
    if any(key.startswith("conditioner.embedders.") for key in shapes):
        raise ModelError(f"{file}: must be Stable Diffusion 1.x or 2.x, got Stable Diffusion XL")
    width = _context_width(file, shapes)
    fitting = [f for f in NAMES if family_fields(f)["unet"]["cross_attention_dim"] == width]
    if not fitting:
        known = sorted({family_fields(f)["unet"]["cross_attention_dim"] for f in NAMES})
        raise ModelError(f"{file}: context width must be one of {known}, got {width}")
    if name is None and len(fitting) > 1:
        raise ModelError(
            f"{file}: recipe.text_to_image.name must be one of {', '.join(fitting)}, which differ in "
            "what they predict and not in their weights, got null"
        )
    if name is not None and name not in fitting:
        raise ModelError(
            f"{file}: recipe.text_to_image.name must be {' or '.join(fitting)} for context width "
            f"{width}, got {name!r}"
        )
    family = name or fitting[0]
    parts = {"a text encoder": text_encoder_prefix(family)}
    if with_autoencoder:
        parts["an autoencoder"] = AUTOENCODER
    for part, prefix in parts.items():
        if not any(key.startswith(prefix) for key in shapes):
            raise ModelError(f"{file}: must hold {part} under {prefix}*, got {_some(shapes)}")
    return family


def text_encoder_prefix(family: str) -> str:
    """Where a family's checkpoints keep the text encoder."""
    return HF_CLIP if family == "sd-1" else OPEN_CLIP


def check_autoencoder(file: Path) -> None:
    """Raise `ModelError` unless a single file holds Stable Diffusion's autoencoder, in any layout."""
    shapes = read_shapes(file)
    bare = {key.removeprefix(AUTOENCODER): shape for key, shape in shapes.items()}
    first = bare.get("decoder.conv_in.weight")
    if first is None or len(first) != 4:
        raise ModelError(f"{file}: must hold an autoencoder, got {_some(shapes)}")
    expected = autoencoder_fields()["latent_channels"]
    if first[1] != expected:
        raise ModelError(f"{file}: must have {expected} latent channels, got {first[1]}")


def check_unet(file: Path) -> None:
    """Raise `ModelError` unless a folder's U-Net is configured as Stable Diffusion 1.x or 2.x are."""
    fields = read_config(file)
    channels, added = fields.get("in_channels", 4), fields.get("addition_embed_type")
    if channels != 4:
        whose = _OTHER_INPUTS.get(channels, "another model's")
        raise ModelError(f"{file}: in_channels must be 4, got {channels}, {whose}")
    if added is not None:
        whose = " (Stable Diffusion XL's)" if added == "text_time" else ""
        raise ModelError(f"{file}: addition_embed_type must be null, got {added!r}{whose}")


def _context_width(file: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    first = shapes.get(f"{UNET}input_blocks.0.0.weight")
    keys = shapes.get(f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    if first is None or keys is None or len(first) != 4 or len(keys) != 2:
        raise ModelError(
            f"{file}: must hold Stable Diffusion's UNet under {UNET}*, got {_some(shapes)}"
        )
    if first[1] != 4:
        whose = _OTHER_INPUTS.get(first[1], "another model's")
        raise ModelError(f"{file}: UNet must take 4 channels, got {first[1]}, {whose}")
    if any(key.startswith(f"{UNET}label_emb.") for key in shapes):
        raise ModelError(f"{file}: UNet must take text alone, got one with label_emb (unCLIP's)")
    return keys[1]


def _some(keys: Iterable[str]) -> str:
    """The start of a list of keys, for a message."""
    names = sorted(keys)
    return f"{len(names)} weights, first {', '.join(names[:3])}" if names else "no weights"
