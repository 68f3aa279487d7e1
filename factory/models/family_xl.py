"""Stable Diffusion XL as a folder: whether one is it, and what its pipeline says beside the weights."""

from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.configs import read_config

INDEX = "model_index.json"
PARTS = ("text_encoder_2", "tokenizer_2")
"""What it has beside Stable Diffusion 1.x' and 2.x' parts."""
FILES = ("text_encoder_2/config.json", "tokenizer_2/tokenizer_config.json", INDEX)
"""What must be there beside theirs."""

_SIZES = 6
"""Numbers that it is told beside the text: heights and widths before and after, the crop's corner."""


def is_xl(unet: dict[str, Any]) -> bool:
    """Whether a UNet's config adds a text and sizes to the timestep."""
    return unet.get("addition_embed_type") == "text_time"


def check_xl(folder: Path, channels: tuple[int, ...]) -> None:
    """Raise `ModelError` unless this is Stable Diffusion XL's base or an editor made of it.

    `channels` are the numbers of input channels that its UNet may have. Refused are the refiner, which
    is told an aesthetic score, and CosXL's editor, whose picture's latent is scaled.
    """
    index = folder / INDEX
    stated = read_config(index) if index.is_file() else {}
    for key, whose in (
        ("requires_aesthetics_score", "Stable Diffusion XL's refiner"),
        ("is_cosxl_edit", "CosXL's editor"),
    ):
        if stated.get(key):
            raise ModelError(f"{index}: {key} must be false, got {stated[key]!r} ({whose})")
    encoders = [folder / part / "config.json" for part in ("text_encoder", "text_encoder_2")]
    there = " and ".join(file.parent.name for file in encoders if file.is_file())
    if not all(file.is_file() for file in encoders):
        raise ModelError(
            f"{folder}: must have text_encoder and text_encoder_2, as Stable Diffusion XL's base, got "
            f"{there or 'neither'}{' alone, as its refiner' if there == 'text_encoder_2' else ''}"
        )
    unet = folder / "unet" / "config.json"
    fields, (first, second) = read_config(unet), map(read_config, encoders)
    if fields.get("in_channels", 4) not in channels:
        raise ModelError(
            f"{unet}: in_channels must be {' or '.join(map(str, channels))}, "
            f"got {fields.get('in_channels')}"
        )
    for key, wanted, why in (
        (
            "cross_attention_dim",
            _sum(first.get("hidden_size"), second.get("hidden_size")),
            "both text encoders' hidden_size",
        ),
        (
            "projection_class_embeddings_input_dim",
            _sum(second.get("projection_dim"), *[fields.get("addition_time_embed_dim")] * _SIZES),
            f"text_encoder_2's projection_dim and {_SIZES} times addition_time_embed_dim",
        ),
    ):
        if fields.get(key) != wanted:
            raise ModelError(f"{unet}: {key} must be {wanted} ({why}), got {fields.get(key)!r}")


def withholds_with_zeros(folder: Path) -> bool:
    """Whether a withheld prompt becomes zeros, as the pipeline's own default. Raises `ModelError`."""
    key = "force_zeros_for_empty_prompt"
    found = read_config(folder / INDEX).get(key, True)
    if not isinstance(found, bool):
        raise ModelError(f"{folder / INDEX}: {key} must be true or false, got {found!r}")
    return found


def _sum(*numbers: Any) -> int | None:
    return sum(numbers) if all(isinstance(number, int) for number in numbers) else None
