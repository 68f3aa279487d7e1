"""Merge LoRAs into the UNet and the text encoder, in diffusers' layouts or kohya's."""

from pathlib import Path
from typing import Any

from diffusers.loaders import StableDiffusionLoraLoaderMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from factory.errors import ModelError, first_line
from schemas.recipe import Lora

_KOHYA = ("lora_unet_", "lora_te")
_DOWN = ("lora_A.weight", "down.weight")
"""How each layer's first matrix is called, in peft's layout and in diffusers' older ones."""


def merge_lora(unet: Any, encoder: Any, source: Lora) -> None:
    """Add a LoRA at its scale. Raises `ModelError` unless each of its layers has its place."""
    folder = Path(source.source)
    weights = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]
    if len(weights) != 1:
        raise ModelError(f"{folder}: a LoRA is one .safetensors file, got {len(weights)}")
    try:
        _merge(unet, encoder, weights[0], source.scale)
    except (SafetensorError, RuntimeError, ValueError, OSError, KeyError) as error:
        raise ModelError(f"{weights[0]}: cannot merge LoRA: {first_line(error)}") from error


def _merge(unet: Any, encoder: Any, file: Path, scale: float) -> None:
    # Here, so that a recipe without LoRAs needs no peft.
    from peft.tuners.tuners_utils import BaseTunerLayer

    loader = StableDiffusionLoraLoaderMixin()
    loader.unet, loader.text_encoder = unet, encoder
    stored = load_file(file)
    if any(key.startswith(_KOHYA) for key in stored):
        layers, metadata = loader.lora_state_dict(_without_alphas(stored, file))[0], None
    else:
        layers, _, metadata = loader.lora_state_dict(
            str(file.parent),
            weight_name=file.name,
            use_safetensors=True,
            local_files_only=True,
            return_lora_metadata=True,
        )
    count = sum(key.endswith(_DOWN) for key in layers)
    loader.load_lora_into_unet(layers, None, unet, metadata=metadata)
    loader.load_lora_into_text_encoder(layers, None, encoder, metadata=metadata)
    modules = [module for part in (unet, encoder) for module in part.modules()]
    found = sum(isinstance(module, BaseTunerLayer) for module in modules)
    if found == 0 or found != count:
        raise ModelError(
            f"{file}: each layer of a LoRA must belong to this UNet or text encoder, "
            f"got {found} of {count} that do"
        )
    loader.fuse_lora(components=["unet", "text_encoder"], lora_scale=scale)
    loader.unload_lora_weights()


def _without_alphas(stored: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Kohya's weights with alpha / rank multiplied into them.

    Diffusers 0.42 hands uneven alphas on under names that no layer has, and they count for nothing.
    """
    if any(key.endswith(".dora_scale") for key in stored):
        raise ModelError(f"{file}: must be a plain LoRA, got DoRA")
    plain = {key: weight for key, weight in stored.items() if not key.endswith(".alpha")}
    for key in stored.keys() - plain.keys():
        layer = key.removesuffix(".alpha")
        down, up = plain[f"{layer}.lora_down.weight"], plain[f"{layer}.lora_up.weight"]
        plain[f"{layer}.lora_up.weight"] = up.float() * (float(stored[key]) / down.shape[0])
    return plain
