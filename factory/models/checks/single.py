"""Whether a checkpoint in one file holds all weights of its family's parts, and a file an autoencoder's."""

from pathlib import Path

from factory.models.checks.compvis import autoencoder_names, text_names, unet_names
from factory.models.checks.known_configs import Autoencoder, TextEncoder, Unet
from factory.models.checks.shapes import autoencoder_shapes
from factory.models.checks.weights import compare, new_attention
from factory.models.family import (
    AUTOENCODER,
    AUTOENCODER_PARTS,
    OPEN_CLIP,
    UNET,
    autoencoder_fields,
    family_fields,
    text_encoder_prefix,
)
from factory.models.safetensors_header import read_shapes


def family_parts(family: str) -> tuple[Unet, TextEncoder]:
    """Their configs, as those of a folder."""
    fields = family_fields(family)
    return Unet.model_validate(fields["unet"]), TextEncoder.model_validate(fields["text_encoder"])


def family_autoencoder() -> Autoencoder:
    """Of all families, and of every autoencoder that is one file."""
    return Autoencoder.model_validate(autoencoder_fields())


def check_checkpoint(file: Path, family: str, with_autoencoder: bool) -> None:
    """Raise `ModelError` unless the UNet is all of the family's and the others are there, whole."""
    stored, (unet, text) = read_shapes(file), family_parts(family)
    prefix = text_encoder_prefix(family)
    wanted_text = text_names(text, prefix == OPEN_CLIP)
    parts = [
        (unet_names(unet), UNET, (UNET,), "UNet"),
        # Beside it lie layers and ends that Stable Diffusion leaves out.
        (wanted_text, prefix, tuple(prefix + name for name in wanted_text), "text encoder"),
    ]
    if with_autoencoder:
        starts = tuple(AUTOENCODER + part for part in AUTOENCODER_PARTS)
        parts.append((autoencoder_names(family_autoencoder()), AUTOENCODER, starts, "autoencoder"))
    for wanted, start, own, what in parts:
        found = {name: shape for name, shape in stored.items() if name.startswith(own)}
        compare(
            file,
            {start + name: shape for name, shape in wanted.items()},
            found,
            why=f"of {family}'s {what}",
        )


def check_autoencoder(file: Path) -> None:
    """The same of an autoencoder, in CompVis' layout or diffusers'."""
    starts = tuple(prefix + part for prefix in ("", AUTOENCODER) for part in AUTOENCODER_PARTS)
    stored = {
        name.removeprefix(AUTOENCODER): shape
        for name, shape in read_shapes(file).items()
        if name.startswith(starts)
    }
    of_diffusers = any(name.startswith("decoder.up_blocks.") for name in stored)
    vae = family_autoencoder()
    wanted = autoencoder_shapes(vae) if of_diffusers else autoencoder_names(vae)
    compare(file, wanted, stored, new_attention, why="of Stable Diffusion's autoencoder")
