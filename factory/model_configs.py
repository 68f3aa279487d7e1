"""Refuse a model's folder whose own configs would have the libraries run, fetch or unpickle something.

Weights are safetensors, and yet a few words of JSON beside them can make a library import Python
from the folder, ask the hub for another model, or prefer a pickled file.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from factory.errors import ModelError

_ASKS_FOR_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")
_NAMES_WEIGHTS = "transformers_weights"
_ADAPTER = "adapter_config.json"
_TOKENIZER_OPTIONS = ("clean", "strip_sep_token", "language")
"""Of open_clip's own; it hands all others to transformers, `trust_remote_code` among them."""
_PLAIN = re.compile(r"[\w.-]+")
_SHARD = re.compile(r"[\w.-]+\.safetensors")
_PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""Names that open_clip prefers to pickled weights beside them; to any other it prefers those."""


def check_configs(files: Iterable[Path]) -> None:
    """Raise `ModelError` for a config that asks for more than its model; `files` are what is read."""
    for file in files:
        if file.name == _ADAPTER:
            raise ModelError(f"{file}: must not be in a model's folder; name it in recipe.loras")
        if file.name.endswith(".safetensors.index.json"):
            _check_index(file)
        if file.name.endswith("config.json"):
            config = read_config(file)
            for key in (*_ASKS_FOR_CODE, _NAMES_WEIGHTS):
                if config.get(key):
                    raise ModelError(
                        f"{file}: must not name code or weights of its own, got {key!r}"
                    )
            if file.name == "open_clip_config.json":
                _check_open_clip(file, config)


def _check_index(file: Path) -> None:
    weights = read_config(file).get("weight_map")
    names = set(weights.values()) if isinstance(weights, dict) else {weights}
    wrong = sorted(str(name) for name in names if not _SHARD.fullmatch(str(name)))
    if wrong:
        raise ModelError(
            f"{file}: weight_map must name .safetensors files beside it, got {wrong[0][:80]!r}"
        )


def _check_open_clip(file: Path, config: dict[str, Any]) -> None:
    model = config.get("model_cfg", config)
    model = model if isinstance(model, dict) else {}
    for part in ("text_cfg", "vision_cfg"):
        fields = model.get(part)
        fields = fields if isinstance(fields, dict) else {}
        for key in ("hf_model_name", "timm_model_name", "timm_model_pretrained"):
            value = fields.get(key)
            # A plain name is one of timm's own architectures.
            if value and not (key == "timm_model_name" and _PLAIN.fullmatch(str(value))):
                raise ModelError(
                    f"{file}: {part}.{key} must not name a model elsewhere, got {str(value)[:80]!r}"
                )
        options = fields.get("tokenizer_kwargs") or {}
        unknown = sorted({*map(str, options)} - {*_TOKENIZER_OPTIONS})
        if unknown:
            raise ModelError(
                f"{file}: {part}.tokenizer_kwargs may hold {', '.join(_TOKENIZER_OPTIONS)}, got "
                f"{unknown[0]!r}"
            )
    pickled = sorted(p.name for s in ("*.bin", "*.pth") for p in file.parent.glob(s))
    if pickled and not any((file.parent / name).is_file() for name in _PREFERRED):
        raise ModelError(
            f"{file.parent}: weights beside pickled ones must be named {_PREFERRED[0]}, got "
            f"{pickled[0]}, which open_clip would prefer"
        )


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object. Raises `ModelError` for anything else."""
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: must be JSON, got {type(error).__name__}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{file}: must be a JSON object, got {type(config).__name__}")
    return config
