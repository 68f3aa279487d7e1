"""Whether a file is a LoRA that we merge, and each of its layers one of the model's; by its header."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from factory.errors import ModelError
from factory.models.checks.shapes import Shapes
from factory.models.safetensors_header import read_metadata, read_shapes

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
_MATRICES = (
    re.compile(r"(lora_(?:unet|te)_\w+)\.lora_(down|up)\.weight"),
    re.compile(r"((?:unet|text_encoder)\..*)\.lora_(A|B)\.weight"),
    re.compile(
        r"((?:unet|text_encoder)\..*?)(?:_lora|\.lora|\.lora_linear_layer)\.(down|up)\.weight"
    ),
)
"""A layer and which of its two matrices: kohya's names, peft's, and diffusers' of 2023."""
_FIRST = ("A", "down")


_METADATA = "lora_adapter_metadata"
"""Under which diffusers keeps peft's options, which it acts upon when it loads."""
_OPTIONS = """
alpha_pattern base_model_name_or_path bias exclude_modules inference_mode init_lora_weights lora_alpha
lora_dropout megatron_core peft_type peft_version qalora_group_size r rank_pattern revision target_modules
task_type use_rslora
""".split()  # noqa: SIM905
"""Those that a plain LoRA may have; of the others some import code, some change the model itself."""


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
    _check_options(file)
    layers: dict[str, dict[bool, tuple[str, tuple[int, ...]]]] = {}
    others: list[str] = []
    for name, shape in stored.items():
        match = next(filter(None, (names.fullmatch(name) for names in _MATRICES)), None)
        if match:
            layers.setdefault(match[1], {})[match[2] in _FIRST] = name, shape
        elif not name.endswith(".alpha"):
            others.append(name)
    if not layers:
        some = ", ".join(sorted(stored)[:3])
        raise ModelError(
            f"{file}: must be a LoRA in diffusers' names (unet.*, text_encoder.*) or kohya's (lora_unet_*, "
            f"lora_te_*), got {len(stored)} weights, first {some}"
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
            (down, (len(inputs),), (len(of),), "dimensions"),
            (up, (len(outputs),), (len(of),), "dimensions"),
            (down, inputs[1:2], of[1:2], "inputs"),
            (up, outputs[:1], of[:1], "outputs"),
            (up, outputs[1:2], inputs[:1], f"inputs, the rank of {down}"),
        ):
            if found != wanted:
                raise ModelError(
                    f"{file}: {name} must have {_first(wanted)} {what}, as the model's layer has, got "
                    f"{_first(found)}"
                )


def _check_options(file: Path) -> None:
    try:
        stated = json.loads(read_metadata(file).get(_METADATA, "{}"))
        options = {str(key).rpartition(".")[2]: value for key, value in stated.items()}
    except (ValueError, AttributeError, RecursionError):
        raise ModelError(f"{file}: {_METADATA} must be a JSON object, got another text") from None
    for key, value in options.items():
        drawn = key != "init_lora_weights" or value in (True, False, None, "gaussian")
        if not (drawn and (key in _OPTIONS or not value)):
            raise ModelError(
                f"{file}: {_METADATA} must be a plain LoRA's, got {key}: {json.dumps(value)[:80]}"
            )


def _first(shape: tuple[int, ...]) -> int | str:
    return shape[0] if shape else "none"


def _places(unet: Shapes, text: Shapes) -> dict[str, tuple[int, ...]]:
    """Every name under which a LoRA may speak of a layer, to the shape of its weight."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, shape in _layers(unet):
        found[f"lora_unet_{layer.replace('.', '_')}"] = found[f"unet.{layer}"] = shape
        older = re.sub(r"\.to_(\w+?)(\.0)?$", r".processor.to_\1", layer)
        found[f"unet.{older}"] = shape
    for layer, shape in _layers(text):
        if not layer.startswith("embeddings."):
            found[f"lora_te_text_model_{layer.replace('.', '_')}"] = shape
            for start in ("text_encoder.text_model.", "text_encoder."):
                found[f"{start}{layer}"] = shape
    return found


def _layers(shapes: Shapes) -> Iterable[tuple[str, tuple[int, ...]]]:
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) > 1:
            yield name.removesuffix(".weight"), shape
