"""Whether CLIP's weights are open_clip's, and those of its folder's config or of a named architecture."""

import difflib
import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.checks.known_clip import Clip, ClipFolder, Text, Vision
from factory.models.checks.shapes import Shapes, affine, dense
from factory.models.checks.tokens import check_tokens
from factory.models.checks.weights import compare
from factory.models.configs import read_config, read_known, validated
from factory.models.safetensors_header import read_shapes

ORDER = ("open_clip_model", "open_clip_pytorch_model", "model")
"""What open_clip takes of several files in a folder; else the first by name."""
OWN_TOKENS = 49408
"""Of the tokenizer that open_clip brings."""
_TRANSFORMERS = ("text_model.", "vision_model.")
_SCALARS = ("logit_scale", "logit_bias")


def check_clip(folder: Path, name: str | None) -> None:
    """`folder` may be a file where `name` is an architecture of open_clip's.

    Raises `ModelError` for another layout, a name that is none, and weights that are not the config's.
    """
    if name is None:
        config = read_known(folder / "open_clip_config.json", ClipFolder).model_cfg
        there = {file.stem: file for file in sorted(folder.glob("*.safetensors"))}
        file = next((there[stem] for stem in ORDER if stem in there), next(iter(there.values())))
        why = "by open_clip_config.json"
        _check_tokenizer(folder, config.text_cfg)
    else:
        config, why = named(folder, name), f"of {name}"
        file = only_weights(folder)
    stored = read_shapes(file)
    foreign = next((key for key in sorted(stored) if key.startswith(_TRANSFORMERS)), None)
    if foreign and not any(key.startswith("visual.") for key in stored):
        raise ModelError(
            f"{file}: must hold open_clip's weights (visual.*, transformer.*), got transformers' "
            f"({foreign}); the same model is published in open_clip's layout, too"
        )
    _check_heads(file, config, why)
    wanted = clip_shapes(config)
    if wanted is not None:
        stored = {key.removeprefix("module."): shape for key, shape in stored.items()}
        for key in _SCALARS:
            # Some releases made a vector of it, which open_clip takes as well.
            if key in stored and stored[key] in ((), (1,)):
                stored[key] = ()
        compare(file, wanted, stored, spare=("logit_bias",), why=why)


def only_weights(folder: Path) -> Path:
    """The file of a named architecture; beside open_clip's own may lie the same in other formats."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]
    files = [file for file in files if file.stem in ORDER[:2]] or files
    if len(files) != 1:
        raise ModelError(f"{folder}: expected one .safetensors file, got {len(files)}")
    return files[0]


def _check_tokenizer(folder: Path, text: Text) -> None:
    whose = "text_cfg.vocab_size"
    if text.hf_tokenizer_name:
        check_tokens(folder, text.vocab_size, whose)
    elif text.vocab_size < OWN_TOKENS:
        raise ModelError(
            f"{folder / 'open_clip_config.json'}: {whose} must be at least {OWN_TOKENS}, CLIP's own "
            f"tokenizer's, or hf_tokenizer_name be given, got {text.vocab_size}"
        )


def named(folder: Path, name: str) -> Clip:
    """An architecture's config out of the installed open_clip. Raises `ModelError`."""
    configs = _configs()
    known = configs.get(name.replace("/", "-"))
    if known is None:
        near = difflib.get_close_matches(name, configs, 1)
        hint = f"did you mean {near[0]!r}?" if near else "open_clip.list_models() has them"
        raise ModelError(
            f"{folder}: recipe.clip.name must be one of open_clip's architectures, got {name!r}; {hint}"
        )
    fields = read_config(known)
    text = fields.get("text_cfg", {})
    fetched = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if not fetched and "siglip" in name.lower():
        fetched = "SigLIP's tokenizer"
    if fetched:
        raise ModelError(
            f"{folder}: recipe.clip.name must be an architecture with CLIP's own tokenizer, got {name!r}, "
            f"for which open_clip would fetch {fetched}; give a folder with open_clip_config.json and "
            "the tokenizer's files"
        )
    return validated(known, Clip, fields)


@cache
def _configs() -> dict[str, Path]:
    """Files of the installed package by architecture; it is not imported."""
    found = importlib.util.find_spec("open_clip")
    roots = found.submodule_search_locations if found else None
    files = (file for root in roots or () for file in Path(root, "model_configs").glob("*.json"))
    return {file.stem: file for file in files}


def _check_heads(file: Path, config: Clip, why: str) -> None:
    vision, text = config.vision_cfg, config.text_cfg
    for what, width, count in (
        ("vision_cfg.head_width", vision.width, vision.head_width),
        ("text_cfg.heads", text.width, text.heads),
    ):
        if width % count and not (what.startswith("vision") and vision.timm_model_name):
            raise ModelError(f"{file}: {what} {why} must divide {width}, the width, got {count}")


def clip_shapes(config: Clip) -> Shapes | None:
    """Of a vision transformer beside a text transformer, as CLIP is; None of all other kinds.

    Source: `CLIP`, `VisionTransformer` and `TextTransformer` of open_clip.
    """
    vision, text = config.vision_cfg, config.text_cfg
    plain = (
        not (config.custom_text or config.multimodal_cfg or vision.timm_model_name)
        and isinstance(vision.layers, int)
        and vision.patch_size is not None
        and not (vision.attentional_pool or text.embed_cls or text.proj_bias)
        and text.proj_type == "linear"
        and not any(
            getattr(tower, key)
            for tower in (vision, text)
            for key in type(tower).model_fields
            if re.match(r"scale|qk_norm|ls_init|block_type", key)
        )
    )
    if not plain:
        return None
    found: Shapes = {"logit_scale": ()}
    found |= _vision(vision, config.embed_dim)
    found |= {
        "token_embedding.weight": (text.vocab_size, text.width),
        "positional_embedding": (text.context_length, text.width),
        "text_projection": (text.width, config.embed_dim),
    }
    found |= affine("ln_final", text.width)
    found |= transformer("transformer", text.width, text.layers, int(text.width * text.mlp_ratio))
    return found


def _sides(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value, value]


def _vision(vision: Vision, width_of_both: int) -> Shapes:
    width, layers = vision.width, vision.layers
    assert isinstance(layers, int)
    patch, image = _sides(vision.patch_size), _sides(vision.image_size)
    places = (image[0] // patch[0]) * (image[1] // patch[1]) + 1
    found: Shapes = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (places, width),
        "visual.proj": (width, width_of_both),
        "visual.conv1.weight": (width, 3, *patch),
    }
    for norm in ("ln_post",) if vision.no_ln_pre else ("ln_pre", "ln_post"):
        found |= affine(f"visual.{norm}", width)
    inner = int(width * vision.mlp_ratio)
    return found | transformer("visual.transformer", width, layers, inner)


def transformer(name: str, width: int, layers: int, inner: int) -> Shapes:
    """`inner` is the width inside of a layer's perceptron."""
    found: Shapes = {}
    for i in range(layers):
        block = f"{name}.resblocks.{i}"
        found |= affine(f"{block}.ln_1", width) | affine(f"{block}.ln_2", width)
        found |= {f"{block}.attn.in_proj_weight": (3 * width, width)}
        found |= {f"{block}.attn.in_proj_bias": (3 * width,)}
        for layer, inputs, outputs in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", width, inner),
            ("mlp.c_proj", inner, width),
        ):
            found |= dense(f"{block}.{layer}", inputs, outputs)
    return found


def describe(folder: Path) -> str:
    """What lies in a folder without open_clip's config, for a message; empty where it is nothing known."""
    file = folder / "config.json"
    try:
        fields: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    kind = fields.get("model_type") if isinstance(fields, dict) else None
    if kind:
        return f" ({kind} in transformers' layout, which is not read)"
    return ""
