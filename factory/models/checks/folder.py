"""Whether a folder is Stable Diffusion in diffusers' layout: its parts' fit, weights' names and shapes."""

from pathlib import Path

from factory.errors import ModelError
from factory.models.checks.known_configs import Autoencoder
from factory.models.checks.parts import (
    check_channels,
    check_latents,
    read_autoencoder,
    read_texts,
    read_unet,
)
from factory.models.checks.shapes import Shapes, autoencoder_shapes, text_shapes, unet_shapes
from factory.models.checks.weights import (
    DIFFUSERS,
    SPARE,
    TRANSFORMERS,
    bare_text,
    check_weights,
    new_attention,
)
from factory.models.family_xl import PARTS, check_xl


def check_folder(folder: Path, with_autoencoder: bool) -> None:
    """Raise `ModelError` where a part does not fit another, by their configs."""
    unet = read_unet(folder)
    check_channels(folder, unet)
    if unet.addition_embed_type:
        check_xl(folder, (unet.out_channels, 2 * unet.out_channels))
    elif (folder / PARTS[0]).is_dir():
        raise ModelError(
            f"{folder}: {PARTS[0]} must be Stable Diffusion XL's, whose UNet has addition_embed_type "
            "'text_time', got null"
        )
    vae = folder / "vae" / "config.json"
    if with_autoencoder:
        check_latents(vae, read_autoencoder(vae), unet)
    read_texts(folder, unet)


def check_folder_weights(folder: Path, with_autoencoder: bool) -> None:
    """Raise `ModelError` where weights are not those of their part's config, by the files' headers."""
    unet = read_unet(folder)
    check_weights(folder / "unet", DIFFUSERS, unet_shapes(unet))
    for name, text in read_texts(folder, unet).items():
        wanted = text_shapes(text, projects=name == PARTS[0])
        check_weights(folder / name, TRANSFORMERS, wanted, bare_text, SPARE)
    if with_autoencoder:
        vae = folder / "vae"
        autoencoder_weights(vae, read_autoencoder(vae / "config.json"))


def autoencoder_weights(part: Path, vae: Autoencoder) -> None:
    """Raise `ModelError` unless the weights beside a config are its own."""
    check_weights(part, DIFFUSERS, autoencoder_shapes(vae), new_attention)


def folder_shapes(folder: Path) -> tuple[Shapes, Shapes]:
    """Of a folder's UNet and of its first text encoder."""
    unet = read_unet(folder)
    text = read_texts(folder, unet)["text_encoder"]
    return unet_shapes(unet), text_shapes(text, projects=False)
