"""Training a LoRA: low-rank matrices beside some layers, and the input layer, which is trained whole.

Source: Hu et al. 2021 (arXiv:2106.09685). The picture comes in by four channels of `conv_in` that begin at
zero: frozen, they would stay so, and no picture would ever be seen. diffusers' research script for
InstructPix2Pix with LoRA does freeze that layer, with a new random bias; it takes finished editors only.
"""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from factory.errors import ConfigError
from factory.models.find import model_folder
from factory.seeds import generator
from schemas.training.fit import Adapter, Law

NAME = "default"
"""Of the adapter, as peft has it."""
INPUT = "conv_in"
"""The layer that sees the picture."""


def check_targets(law: Law) -> None:
    """Raise `ConfigError` for a target that is in no layer's name; nothing is loaded.

    A model that is one file says only when it is loaded what layers it has.
    """
    folder = model_folder(law.model, "text_to_image") / "unet"
    if law.lora is not None and folder.is_dir():
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
        _find_layers(unet, law.lora.targets)


def add_lora(unet: Any, adapter: Adapter, seed: int) -> None:
    """Freeze a UNet but for its input layer, and put the trained matrices beside its layers, in place.

    A is drawn from the seed and the layer's name, evenly up to 1/sqrt(inputs) as peft does; B is zero, so
    that at first the network is the one that it was. Raises `ConfigError`.
    """
    layers = _find_layers(unet, adapter.targets)
    alpha = adapter.rank if adapter.alpha is None else adapter.alpha
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=adapter.rank, lora_alpha=alpha, target_modules=layers), NAME)
    unet.get_submodule(INPUT).requires_grad_(True)
    for name in layers:
        down = unet.get_submodule(name).lora_A[NAME].weight
        most = down[0].numel() ** -0.5
        drawn = generator(seed, "lora", name).uniform(-most, most, tuple(down.shape))
        with torch.no_grad():
            down.copy_(torch.from_numpy(drawn))


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by the names under which they are stored: without peft's."""
    return {
        re.sub(rf"\.(lora_[AB])\.{NAME}\.", r".\1.", name): parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


@torch.no_grad()
def merged(unet: Any) -> Any:
    """A plain UNet with the matrices' products in its weights; all others are shared, not copied."""
    weights: dict[str, Tensor] = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in unet.state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in _adapted(unet).items():
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + layer.get_delta_weight(NAME)
    with torch.device("meta"):
        plain = type(unet).from_config(unet.config)
    plain.load_state_dict(weights, assign=True)
    return plain


def write_adapter(folder: Path, unet: Any) -> None:
    """`pytorch_lora_weights.safetensors` for `load_lora_weights`, and the input layer beside it.

    B holds alpha / rank, so that a reader who knows of no alpha is right. No reader of LoRAs takes the
    input layer, so with a base model's pipeline of class `StableDiffusionInstructPix2PixPipeline`:

        pipe.unet.conv_in = torch.nn.Conv2d(8, pipe.unet.conv_in.out_channels, 3, padding=1)
        pipe.unet.register_to_config(in_channels=8)
        pipe.unet.conv_in.load_state_dict(load_file(folder / "conv_in.safetensors"))
        pipe.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")
        pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="linspace"  # the merged editor's
        )
    """
    layers: dict[str, Tensor] = {}
    for name, layer in _adapted(unet).items():
        up = layer.lora_B[NAME].weight.detach() * layer.scaling[NAME]
        layers[f"{name}.lora_A.weight"] = layer.lora_A[NAME].weight.detach().cpu()
        layers[f"{name}.lora_B.weight"] = up.cpu()
    StableDiffusionLoraLoaderMixin.save_lora_weights(folder, layers)
    whole = unet.get_submodule(INPUT).state_dict()
    save_file(
        {name: tensor.cpu() for name, tensor in whole.items()}, folder / f"{INPUT}.safetensors"
    )


def _adapted(unet: Any) -> dict[str, Any]:
    return {name: part for name, part in unet.named_modules() if isinstance(part, LoraLayer)}


def _find_layers(unet: Any, targets: tuple[str, ...]) -> list[str]:
    """Full names of the layers whose names hold a target as whole parts: `ff` is in `…ff.net.2`."""
    names = [
        name
        for name, part in unet.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and name != INPUT
    ]
    found: set[str] = set()
    for target in targets:
        its = {name for name in names if f".{target}." in f".{name}."}
        if not its:
            ends = sorted({_end(name) for name in names})
            raise ConfigError(
                f"law.lora.targets: must name layers of the UNet, got {target!r}; "
                f"there are {', '.join(ends)}"
            )
        found |= its
    return [name for name in names if name in found]


def _end(name: str) -> str:
    """`to_out.0` of `…attn1.to_out.0`."""
    words = name.split(".")
    first = max(place for place, word in enumerate(words) if not word.isdecimal())
    return ".".join(words[first:])
