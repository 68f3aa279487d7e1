"""What a safetensors file says of itself: names and shapes, without reading a weight."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from factory.errors import ModelError

_INFINITY = {
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF << 52),
}
"""The bits of each format's infinity as an integer: above it, the sign aside, are the NaNs."""
_AT_ONCE = 1 << 20
"""Weights looked at together."""


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor.

    Raises `ModelError` for git-lfs pointers, other formats, and a file that is not as long as its
    header says.
    """
    return {name: tuple(int(n) for n in entry["shape"]) for name, entry in _read(file)[1].items()}


def read_metadata(file: Path) -> dict[str, str]:
    """What whoever wrote the file says of it. Raises `ModelError` as `read_shapes` does."""
    return _read(file)[2]


def check_numbers(file: Path) -> None:
    """Read every weight; raise `ModelError` as `read_shapes` does, and where one is not a number."""
    start, entries, _ = _read(file)
    for name, entry in entries.items():
        if entry["dtype"] not in _INFINITY:
            continue
        kind, infinity = _INFINITY[entry["dtype"]]
        bits = np.dtype(kind)
        first, end = (start + int(offset) for offset in entry["data_offsets"])
        if first == end:  # memmap takes nothing empty
            continue
        weights = np.memmap(file, bits, "r", first, ((end - first) // bits.itemsize,))
        sign = bits.type(1 << (8 * bits.itemsize - 1))
        for at in range(0, len(weights), _AT_ONCE):
            if ((weights[at : at + _AT_ONCE] & ~sign) > infinity).any():
                raise ModelError(f"{file}: weights must be numbers, got NaN in {name}")


def _read(file: Path) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Where the weights begin, each one's entry, its fields as they should be, and what is said of all."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if head.startswith(b"version "):
            raise ModelError(
                f"{file}: expected weights, got a git-lfs pointer of {size} bytes; run `git lfs pull`"
            )
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > size - 8:
            raise ModelError(
                f"{file}: must be a whole safetensors file, got {size} bytes that end in its header"
            )
        header = stream.read(length)
    try:
        entries = dict(json.loads(header).items())
        metadata = {str(key): str(text) for key, text in entries.pop("__metadata__", {}).items()}
        ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
        for entry in entries.values():
            str(entry["dtype"]), [int(n) for n in entry["shape"]], int(entry["data_offsets"][0])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ModelError(
            f"{file}: must be a safetensors file, got another beginning: {(head + header)[:16]!r}"
        ) from None
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise ModelError(f"{file}: must be {whole} bytes by its header, got {size}")
    return 8 + length, entries, metadata
