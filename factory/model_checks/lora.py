"""Whether a file is a LoRA that we merge, and each of its layers one of the model's; by its header."""

import re
from collections.abc import Iterable
from pathlib import Path

from factory.errors import ModelError
from factory.model_checks.shapes import Shapes
from factory.safetensors_header import read_shapes

_OTHER_KINDS = (
    ("DoRA", r"dora_scale$|lora_magnitude_vector"),
    ("LoHa", r"\.hada_(w|t)"),
    ("LoKr", r"\.lokr_(w|t)"),
    ("GLoRA", r"\.[ab][12]\.weight$"),
    ("IA3", r"\.on_input$|ia3_l"),
    ("BOFT", r"boft_(R|S|s|m)"),
    ("OFT", r"\.oft_(blocks|diag|r|R)|constraint$"),
    ("VeRA", r"vera_(lambda|A|B)"),
    ("whole differences (LyCORIS' `full`)", r"\.diff(_b)?$"),
    ("trained norms (LyCORIS' `norm`)", r"\.[wb]_norm$"),
    ("LoCon with a core (lora_mid)", r"\.lora_mid\.weight$"),
    ("textual inversion", r"^emb_params$|string_to_param|^clip_[lg]$|^<[^>]+>$"),
    ("an IP-Adapter", r"^(image_proj|ip_adapter)\."),
    ("a ControlNet", r"^(control_model|controlnet|lora_controlnet)[._]"),
    ("a whole checkpoint", r"^(model\.diffusion_model|first_stage_model|cond_stage_model)\."),
    ("a LoRA of Stable Diffusion XL", r"^(lora_te[12]_|text_encoder_2\.)"),
    (
        "a LoRA of a transformer (Stable Diffusion 3, FLUX)",
        r"^(lora_)?transformer[._]|(double|single|joint)_(transformer_)?blocks",
    ),
)
"""Adapters of other kinds or for other models, by what names in them look like."""
_MATRIX = re.compile(
    r"(.*?)(?:_lora|\.lora_linear_layer|\.lora|\.lora(?=_[AB]|_down|_up))?"
    r"[._](?:lora_)?(A|down|B|up)\.weight"
)
_FIRST = ("A", "down")


def check_lora(file: Path, unet: Shapes, text: Shapes) -> None:
    """Raise `ModelError` for another kind of adapter, and layers that the model lacks or has otherwise.

    `unet` and `text` are the model's weights in diffusers' and transformers' names, the latter without
    `text_model.`.
    """
    stored = read_shapes(file)
    for kind, names in _OTHER_KINDS:
        example = next((name for name in sorted(stored) if re.search(names, name)), None)
        if example is not None:
            raise ModelError(f"{file}: must be a plain LoRA, got {kind} ({example})")
    layers: dict[str, dict[bool, tuple[str, tuple[int, ...]]]] = {}
    others: list[str] = []
    for name, shape in stored.items():
        match = _MATRIX.fullmatch(name)
        if match:
            layers.setdefault(match[1], {})[match[2] in _FIRST] = name, shape
        elif not name.endswith(".alpha"):
            others.append(name)
    if not layers:
        some = ", ".join(sorted(stored)[:3])
        raise ModelError(
            f"{file}: must be a LoRA, got {len(stored)} weights of other kinds: {some}"
        )
    if others:
        raise ModelError(f"{file}: must hold matrices and their alphas alone, got {min(others)}")
    places = _places(unet, text)
    lost = sorted(layer for layer in layers if layer not in places)
    if lost:
        raise ModelError(
            f"{file}: each layer of a LoRA must belong to this UNet or text encoder, "
            f"got {len(layers) - len(lost)} of {len(layers)} that do; {lost[0]} does not"
        )
    for layer, pair in layers.items():
        for is_first in (True, False):
            if is_first not in pair:
                raise ModelError(f"{file}: {layer} must have two matrices, got one")
        (down, inputs), (up, outputs) = pair[True], pair[False]
        of = places[layer]
        for name, found, wanted, what in (
            (down, inputs[1:2], of[1:2], "inputs"),
            (up, outputs[:1], of[:1], "outputs"),
            (up, outputs[1:2], inputs[:1], f"inputs, the rank of {down}"),
        ):
            if found != wanted:
                raise ModelError(
                    f"{file}: {name} must have {_first(wanted)} {what}, as the model's layer has, got "
                    f"{_first(found)}"
                )


def _first(shape: tuple[int, ...]) -> int | str:
    return shape[0] if shape else "none"


def _places(unet: Shapes, text: Shapes) -> dict[str, tuple[int, ...]]:
    """Every name under which a LoRA may speak of a layer, to the shape of its weight."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, shape in _layers(unet):
        found[f"lora_unet_{layer.replace('.', '_')}"] = shape
        found[f"unet.{layer}"] = found[layer] = shape
        older = re.sub(r"\.to_(\w+?)(\.0)?$", r".processor.to_\1", layer)
        found[f"unet.{older}"] = found[older] = shape
    for layer, shape in _layers(text):
        found[f"lora_te_text_model_{layer.replace('.', '_')}"] = shape
        older = re.sub(r"\.(q|k|v|out)_proj$", r".to_\1", layer)
        for start in ("text_encoder.text_model.", "text_encoder."):
            found[f"{start}{layer}"] = found[f"{start}{older}"] = shape
    return found


def _layers(shapes: Shapes) -> Iterable[tuple[str, tuple[int, ...]]]:
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) > 1:
            yield name.removesuffix(".weight"), shape
