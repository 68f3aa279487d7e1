"""Pin a recipe's models by the hash of every file that is read; no weights are loaded here."""

from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models import family_xl
from factory.models.checks import single
from factory.models.checks.clip import check_clip
from factory.models.checks.folder import (
    autoencoder_weights,
    check_folder,
    check_folder_weights,
    folder_shapes,
)
from factory.models.checks.known_configs import Autoencoder, Unet
from factory.models.checks.lora import check_lora
from factory.models.checks.parts import (
    check_latents,
    check_scaling,
    read_autoencoder,
    read_unet,
)
from factory.models.checks.shapes import text_shapes, unet_shapes
from factory.models.configs import read_config
from factory.models.family import check_autoencoder, check_unet, checkpoint_family
from factory.models.find import (
    model_folder,
    read_files,
)
from factory.models.layers import attention_scales, check_blend, unet_config
from factory.models.pin_source import pin_source
from schemas.recipe import Lora, ModelSource, Recipe

_TEXT_TO_IMAGE = (
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
"""Besides the autoencoder, which may come from elsewhere."""


def pin(recipe: Recipe) -> Recipe:
    """The recipe with every weight and config file named by its sha256.

    Raises `ModelError` before any weight is loaded: missing, cut or pickled files, git-lfs pointers,
    parts that do not fit each other or their weights, a size that does not suit the autoencoder, and
    files that are not the ones already pinned.
    """
    folder = model_folder(recipe.text_to_image, "text_to_image")
    config = folder / "unet" / "config.json"
    if config.is_file():
        # Not below: training may go on from an editor, which takes 8 channels.
        if family_xl.is_xl(read_config(config)):
            family_xl.check_xl(folder, (4,))
            if recipe.loras:
                raise ModelError(
                    f"recipe.loras: must be none with Stable Diffusion XL, got {len(recipe.loras)}; merge "
                    "them into its folder with diffusers' `fuse_lora` first"
                )
        else:
            check_unet(config)
    text_to_image, autoencoder = pin_text_to_image(
        recipe.text_to_image, recipe.autoencoder, recipe.size_px, "recipe"
    )
    if recipe.cross is not None:
        unet = unet_config(folder, text_to_image.name)
        check_blend("recipe.cross", recipe.cross, attention_scales(unet))
    models: dict[str, Any] = {
        "text_to_image": text_to_image,
        "autoencoder": autoencoder,
        "clip": pin_clip(recipe.clip),
        "loras": tuple(_pinned_lora(lora, folder, text_to_image.name) for lora in recipe.loras),
    }
    return recipe.model_copy(update=models)


def pin_clip(source: ModelSource) -> ModelSource:
    """A CLIP of open_clip's with its files' hashes. Raises `ModelError`, as `pin`."""
    return pin_source(
        source,
        "clip",
        () if source.name else ("open_clip_config.json",),
        weights=lambda folder: check_clip(folder, source.name),
    )


def pin_text_to_image(
    source: ModelSource, other: ModelSource | None, size_px: int, group: str
) -> tuple[ModelSource, ModelSource | None]:
    """A checkpoint, and another autoencoder if one is named, with their files' hashes.

    `group` is where a configuration names `size_px`. Raises `ModelError`, as `pin`.
    """
    pinned, unet, config = _pinned_checkpoint(source, other)
    autoencoder = None
    if other:
        autoencoder, config = _pinned_autoencoder(other, unet, config)
    assert config is not None
    factor = 2 ** (len(config.block_out_channels) - 1)
    if size_px % factor:
        raise ModelError(
            f"{group}.size_px: must be a multiple of {factor} (the autoencoder's factor), "
            f"got {size_px}"
        )
    return pinned, autoencoder


def _pinned_checkpoint(
    source: ModelSource, other: ModelSource | None
) -> tuple[ModelSource, Unet, Autoencoder | None]:
    """The text-to-image source, its UNet's config, and that of the autoencoder in it, if one is."""
    path = model_folder(source, "text_to_image")
    if path.is_file():
        family = ""

        def fits(file: Path) -> None:
            nonlocal family
            family = checkpoint_family(file, source.name, with_autoencoder=other is None)
            single.check_checkpoint(file, family, with_autoencoder=other is None)

        pinned = pin_source(source, "text_to_image", (), weights=fits)
        unet, _ = single.family_parts(family)
        # Named even where the shapes alone decided: what a run is made with stands in its recipe.
        return pinned.model_copy(update={"name": family}), unet, single.family_autoencoder()
    needed = list(_TEXT_TO_IMAGE)
    if (path / family_xl.PARTS[0]).is_dir():
        needed += family_xl.FILES
    if other is None:
        needed.append("vae/config.json")
    whole = other is None
    pinned = pin_source(
        source,
        "text_to_image",
        needed,
        configs=lambda folder: check_folder(folder, whole),
        weights=lambda folder: check_folder_weights(folder, whole),
    )
    if source.name is not None:
        raise ModelError(
            f"{path}: recipe.text_to_image.name must be null for a folder, got {source.name!r}"
        )
    own = path / "vae" / "config.json"
    return pinned, read_unet(path), read_autoencoder(own) if own.is_file() else None


def _pinned_autoencoder(
    source: ModelSource, unet: Unet, own: Autoencoder | None
) -> tuple[ModelSource, Autoencoder]:
    """Another autoencoder than `own`, that of the UNet's checkpoint."""
    path = model_folder(source, "autoencoder")

    def fits(file: Path, vae: Autoencoder) -> None:
        check_latents(file, vae, unet)
        if own is not None:
            check_scaling(file, vae, own, "as the autoencoder's that the U-Net was trained with")

    if path.is_file():
        of_all = single.family_autoencoder()

        def holds(file: Path) -> None:
            check_autoencoder(file)
            fits(file, of_all)
            single.check_autoencoder(file)

        return pin_source(source, "autoencoder", (), weights=holds), of_all
    config = path / "config.json"
    pinned = pin_source(
        source,
        "autoencoder",
        (config.name,),
        configs=lambda _: fits(config, read_autoencoder(config)),
        weights=lambda folder: autoencoder_weights(folder, read_autoencoder(config)),
    )
    return pinned, read_autoencoder(config)


def _pinned_lora(source: Lora, base: Path, family: str | None) -> Lora:
    """A LoRA for the model in a folder, or of a family in one file."""

    def fits(folder: Path) -> None:
        files = read_files(folder, "lora")
        if len(files) != 1:
            raise ModelError(f"{folder}: a LoRA is one .safetensors file, got {len(files)}")
        if family is not None:
            unet, text = single.family_parts(family)
            check_lora(files[0], unet_shapes(unet), text_shapes(text, projects=False))
        else:
            check_lora(files[0], *folder_shapes(base))

    return pin_source(source, "lora", (), weights=fits)
