"""At which quality a picture's file was written, read off its first bytes without decoding it."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

MOST_SEGMENTS = 1000
"""Of a file that are looked at."""
LUMINANCE = 64
"""Bytes of a table with one for each frequency."""


@dataclass(frozen=True)
class Written:
    """How a picture's file was written."""

    format: str
    """`JPEG`, `PNG` or `WEBP`."""
    quality: int | None = None
    """Of a JPEG, 1..100: that at which Pillow writes the nearest table of luminances. Else unknown."""
    lossless: bool = False
    """Whether a WEBP says nothing but what its pixels were."""


def written(data: bytes, format: str) -> Written:
    """What a file of a known format says of itself; a file that says nothing of it has no quality."""
    if format == "WEBP":
        return Written(format, lossless=is_lossless(data))
    table = luminance_table(data) if format == "JPEG" else None
    return Written(format, nearest_quality(table) if table else None)


def luminance_table(data: bytes) -> bytes | None:
    """A JPEG's first quantisation table in its own order; None where it has none of 8 bits."""
    for name, at, end in _segments(data):
        if name == 0xDB and data[at] == 0 and end - at > LUMINANCE:
            return data[at + 1 : at + 1 + LUMINANCE]
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Of a JPEG up to its first scan: each one's kind, and where what it says begins and ends."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] == 0xDA:
            return
        if data[at + 1] == 0xFF:  # fills up
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 >= end or end > len(data):
            return
        yield data[at + 1], at + 4, end
        at = end


def nearest_quality(table: bytes) -> int:
    """The lowest quality whose table is as near as any, by the sum of absolute differences."""

    def far(quality: int) -> int:
        return sum(abs(a - b) for a, b in zip(table, _tables()[quality], strict=True))

    return min(_tables(), key=far)


@lru_cache(maxsize=1)
def _tables() -> dict[int, bytes]:
    """What Pillow writes at each quality."""
    found = {}
    for quality in range(1, 101):
        sink = io.BytesIO()
        Image.new("L", (8, 8)).save(sink, "JPEG", quality=quality)
        table = luminance_table(sink.getvalue())
        assert table is not None
        found[quality] = table
    return found


def is_lossless(data: bytes) -> bool:
    """Whether a WEBP's picture is stored by its lossless method."""
    at = 12
    for _ in range(MOST_SEGMENTS):
        name = data[at : at + 4]
        if name in (b"VP8L", b"VP8 ") or not name:
            return name == b"VP8L"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return False
