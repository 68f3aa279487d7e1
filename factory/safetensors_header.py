"""What a safetensors file says of itself: names and shapes, without reading a weight."""

import json
from pathlib import Path

from factory.errors import ModelError


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor.

    Raises `ModelError` for git-lfs pointers, other formats, and a file that is not as long as its
    header says.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if head.startswith(b"version "):
            raise ModelError(f"{file}: expected weights, got a git-lfs pointer of {size} bytes")
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > size - 8:
            raise ModelError(
                f"{file}: must be a whole safetensors file, got {size} bytes that end in its header"
            )
        header = stream.read(length)
    try:
        entries = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
        ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
        shapes = {k: tuple(int(n) for n in entry["shape"]) for k, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ModelError(
            f"{file}: must be a safetensors file, got another beginning: {(head + header)[:16]!r}"
        ) from None
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise ModelError(f"{file}: must be {whole} bytes by its header, got {size}")
    return shapes
