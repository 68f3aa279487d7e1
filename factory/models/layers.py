"""What a UNet attends at, by its config: names of layers and their scales, before any tensor is loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.configs import read_config
from factory.models.family import family_fields
from schemas.recipe import WordMaps


def unet_config(path: Path, family: str | None) -> dict[str, Any]:
    """Of a checkpoint in a folder, or in one file of a family. Raises `ModelError`."""
    if path.is_dir():
        return read_config(path / "unet" / "config.json")
    fields: dict[str, Any] = family_fields(family or "sd-1")["unet"]
    return fields


def decoder_layers(unet: Mapping[str, Any], *, attending: bool) -> list[str]:
    """The decoder's residual blocks, as `up.1.1`, or those with attention after them."""
    count = unet.get("layers_per_block", 2)
    kinds = unet["up_block_types"]
    # The decoder's blocks are listed from the coarsest, the counts from the finest.
    counts = [count] * len(kinds) if isinstance(count, int) else list(reversed(count))
    return [
        f"up.{block}.{number}"
        for block, kind in enumerate(kinds)
        if "CrossAttn" in kind or not attending
        for number in range(counts[block] + 1)
    ]


def attention_scales(unet: Mapping[str, Any]) -> set[int]:
    """Latents to a side of a position, of every level with attention, the middle's included."""
    kinds = unet["down_block_types"]
    scales = {2**level for level, kind in enumerate(kinds) if "CrossAttn" in kind}
    return scales | {2 ** (len(kinds) - 1)}


def check_names(where: str, names: Sequence[str], there: Sequence[str]) -> None:
    """Raise `ModelError` for a name that is no layer's, block's or part's."""
    for name in names:
        if not any(f"{layer}.".startswith(f"{name}.") for layer in there):
            shown = ", ".join(there)
            raise ModelError(f"{where}: must be among the network's {shown}, got {name!r}")


def check_blend(where: str, maps: WordMaps, scales: set[int]) -> None:
    """Raise `ModelError` for a local blend by maps of layers that the network has not."""
    if maps.blend and maps.blend_scale not in scales:
        shown, got = ", ".join(map(str, sorted(scales))), maps.blend_scale
        raise ModelError(f"{where}.blend_scale: must be among the network's {shown}, got {got}")
