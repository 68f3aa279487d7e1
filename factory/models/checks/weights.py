"""Whether the weights of a part are those that its config asks for: each name, at its shape, no other."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from factory.errors import ModelError
from factory.models.checks.shapes import Shapes
from factory.models.configs import read_config
from factory.models.safetensors_header import read_shapes

DIFFUSERS = "diffusion_pytorch_model"
TRANSFORMERS = "model"
"""How the two libraries call a part's weights."""
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema|int8|fp8)[.-]")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Of autoencoders that diffusers wrote before 2023, `vae-ft-mse` among them."""
SPARE = ("embeddings.position_ids", "text_projection.weight", "logit_scale")
"""What a text encoder's file may hold as well: a buffer of old releases, ends of a whole CLIP."""


def weight_files(part: Path, stem: str) -> list[Path]:
    """The files that a part's library loads. Raises `ModelError` where it would find none."""
    single, index = part / f"{stem}.safetensors", part / f"{stem}.safetensors.index.json"
    # Of both, diffusers takes the index, transformers the one file.
    if index.is_file() and not (stem == TRANSFORMERS and single.is_file()):
        named = read_config(index).get("weight_map")
        return (
            sorted({part / str(name) for name in named.values()}) if isinstance(named, dict) else []
        )
    if single.is_file():
        return [single]
    there = sorted(file.name for file in part.glob("*.safetensors"))
    variants = [name for name in there if _VARIANT.search(name)]
    found = f"only {', '.join((variants or there)[:3])}"
    raise ModelError(
        f"{part}: weights must be in {single.name}, got {found}"
        + (f"; a variant is read once it is renamed to {single.name}" if variants else "")
    )


def check_weights(
    part: Path,
    stem: str,
    wanted: Shapes,
    named: Callable[[str], str] = lambda name: name,
    spare: Iterable[str] = (),
) -> None:
    """Raise `ModelError` unless a part's files hold what is wanted and, but for `spare`, nothing else.

    `named` turns a stored name into the one that is wanted.
    """
    files = weight_files(part, stem)
    stored: Shapes = {}
    for file in files:
        stored |= read_shapes(file)
    where = files[0] if len(files) == 1 else part
    compare(where, wanted, stored, named, spare, f"by {part.name}/config.json")


def compare(
    where: Path,
    wanted: Shapes,
    stored: Mapping[str, tuple[int, ...]],
    named: Callable[[str], str] = lambda name: name,
    spare: Iterable[str] = (),
    why: str = "",
) -> None:
    """The same of shapes that were read."""
    found = {named(name): (name, shape) for name, shape in stored.items()}
    missing = sorted(wanted.keys() - found.keys())
    others = sorted(found[name][0] for name in found.keys() - wanted.keys() - {*spare})
    of = f"must hold {len(wanted)} weights{why and f' {why}'}"
    if missing:
        more = f" and {len(others)} others, first {others[0]}" if others else ""
        raise ModelError(f"{where}: {of}, got no {missing[0]} ({len(missing)} missing{more})")
    if others:
        raise ModelError(f"{where}: {of} and no others, got {len(others)} more, first {others[0]}")
    for name, shape in wanted.items():
        if found[name][1] != shape:
            raise ModelError(
                f"{where}: {found[name][0]} must be of shape {list(shape)}{why and f' {why}'}, got "
                f"{list(found[name][1])}"
            )


def new_attention(name: str) -> str:
    """An autoencoder's weight by diffusers' present name."""
    *path, layer, kind = name.split(".") if name.count(".") > 1 else ("", "", name)
    if not path or ".attentions." not in name:
        return name
    return ".".join([*path, _OLD_ATTENTION.get(layer, layer), kind])


def bare_text(name: str) -> str:
    """A text encoder's weight without what some releases put before it."""
    return name.removeprefix("text_model.")
