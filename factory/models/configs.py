"""Refuse a model's folder whose own configs would have the libraries run, fetch or unpickle something.

Weights are safetensors, and yet a few words of JSON beside them can make a library import Python
from the folder, ask the hub for another model or for code, start a quantiser, or prefer a pickled file. So
each part's config may say what `model_checks/known_configs.py` lists, and nothing else.
"""

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from factory.errors import ModelError
from factory.models.checks import known_configs
from factory.models.checks.known_clip import ClipFolder, XlIndex
from factory.models.checks.known_configs import (
    SCHEDULER_KEYS,
    TEXT_LEFTOVERS,
    TOKENIZER_KEYS,
    Autoencoder,
    KnownConfig,
    NoiseSchedule,
    TextEncoder,
    Tokenizer,
    Unet,
)

K = TypeVar("K", bound=KnownConfig)

_ASKS_FOR_MORE = (
    *("auto_map", "trust_remote_code", "custom_pipelines", "transformers_weights"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation_internal", "kernel_config"),
    *("quantization_config", "_pre_quantization_dtype"),
)
"""Named in any config for a reason: it would fetch or start something."""
_ADAPTER = "adapter_config.json"
_TOKENIZER_OPTIONS = ("clean", "strip_sep_token", "language")
"""Of open_clip's own; it hands all others to transformers, `trust_remote_code` among them."""
_PLAIN = re.compile(r"[\w.-]+")
_SHARD = re.compile(r"[\w.-]+\.safetensors")
_PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""Names that open_clip prefers to pickled weights beside them; to any other it prefers those."""
_OTHERS: dict[type[KnownConfig], str] = {
    TextEncoder: TEXT_LEFTOVERS,
    Tokenizer: TOKENIZER_KEYS,
    NoiseSchedule: SCHEDULER_KEYS,
}
_KINDS: dict[str, type[KnownConfig]] = {
    "unet/config.json": Unet,
    "vae/config.json": Autoencoder,
    "text_encoder/config.json": TextEncoder,
    "text_encoder_2/config.json": TextEncoder,
    "tokenizer/tokenizer_config.json": Tokenizer,
    "tokenizer_2/tokenizer_config.json": Tokenizer,
    "scheduler/scheduler_config.json": NoiseSchedule,
    "model_index.json": XlIndex,
    "open_clip_config.json": ClipFolder,
    "tokenizer_config.json": Tokenizer,
}
"""By their names in the folder of a model, or of open_clip's."""
_ALONE: dict[str, type[KnownConfig]] = {"config.json": Autoencoder}
"""In the folder of an autoencoder by itself."""
LFS = b"version https://git-lfs"


def check_configs(folder: Path, files: Iterable[Path], role: str) -> None:
    """Raise `ModelError` for a config that says more than its part may; `files` are what is read."""
    # Of a pipeline's parts, and of language models, it is not known what they may say.
    kinds = {"autoencoder": _ALONE, "pipeline": {}, "language": {}}.get(role, _KINDS)
    for file in files:
        if file.name == _ADAPTER:
            raise ModelError(f"{file}: must not be in a model's folder; name it in recipe.loras")
        if file.name.endswith(".safetensors.index.json"):
            _check_index(file)
        kind = kinds.get(file.relative_to(folder).as_posix()) if folder.is_dir() else None
        if kind is ClipFolder:
            _check_open_clip(file, read_config(file))
        if kind is not None:
            read_known(file, kind)
        elif file.name.endswith("config.json"):
            _check_asks(file, read_config(file))


def read_known(file: Path, kind: type[K]) -> K:
    """A part's config. Raises `ModelError` for what is none, and keys and values that it may not have."""
    return validated(file, kind, read_config(file))


def validated(file: Path, kind: type[K], config: dict[str, Any]) -> K:
    """The same of a config that was read from `file`."""
    _check_asks(file, config)
    try:
        return kind.model_validate(known_configs.known(kind, config, _OTHERS.get(kind, "")))
    except ValidationError as error:
        raise ModelError(f"{file}: {_problem(error, kind)}") from None


def _check_asks(file: Path, config: dict[str, Any]) -> None:
    """Also what a config says of its parts: transformers makes a config of each, and loads by it."""
    following: list[tuple[str, Any]] = [("", config)]
    for where, value in following:
        if isinstance(value, dict):
            for key in _ASKS_FOR_MORE:
                if value.get(key):
                    raise ModelError(
                        f"{file}: must not name code or weights of its own, or a quantiser, got "
                        f"{where + key!r:.200}"
                    )
            following += [(f"{where}{key}.", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            following += [(where, inner) for inner in value]


def _problem(error: ValidationError, kind: type[KnownConfig]) -> str:
    """The first problem as one line, an unknown key before all others."""
    problems = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    first = problems[0]
    path = [part for part in first["loc"] if isinstance(part, int) or _is_key(part)]
    key, got = ".".join(map(str, path)), json.dumps(first["input"], default=str)[:80]
    if first["type"] == "extra_forbidden":
        known = {field.alias or name for name, field in kind.model_fields.items()}
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "delete it if the model does without it"
        return f"unknown key {key!r}, got {got}; {hint}"
    if first["type"] == "missing":
        return f"{key} must be given, got none"
    rule = first["msg"].replace("Input should be", "must be").replace("should have", "must have")
    for word, plain in (("None", "null"), ("True", "true"), ("False", "false")):
        rule = re.sub(rf"\b{word}\b", plain, rule)
    return f"{key} {rule[0].lower()}{rule[1:]}, got {got}"


def _is_key(part: str) -> bool:
    """Whether a part of a place is a key, and no branch of a union."""
    return bool(re.fullmatch(r"\w+", part)) and part not in ("int", "float", "str", "bool", "none")


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
    safe = {path.name for path in file.parent.glob("*.safetensors")}
    if pickled and safe and not safe & {*_PREFERRED}:
        raise ModelError(
            f"{file.parent}: weights beside pickled ones must be named {_PREFERRED[0]}, got "
            f"{pickled[0]}, which open_clip would prefer"
        )


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object. Raises `ModelError` for anything else."""
    data = file.read_bytes()
    if data.startswith(LFS):
        raise ModelError(
            f"{file}: must be JSON, got a git-lfs pointer of {len(data)} bytes; run `git lfs pull`"
        )
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: must be JSON, got {type(error).__name__}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{file}: must be a JSON object, got {type(config).__name__}")
    return config
