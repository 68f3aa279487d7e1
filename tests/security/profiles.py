"""ICC profiles, built by hand so that their colours are known."""

import struct

import numpy as np
from PIL import ImageCms

WHITE = (0.9642, 1.0, 0.8249)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""XYZ of its red, green and blue, as under D50."""
PERCEPTUAL, COLORIMETRIC = b"A2B0", b"A2B1"


def profile(space: bytes, connection: bytes, device: bytes, tags: dict[bytes, bytes]) -> bytes:
    """One of version 2.4 by its tags."""
    tags = {b"desc": text("by hand"), b"cprt": text("none"), b"wtpt": xyz(*WHITE)} | tags
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"", 0x02400000, device, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + xyz(*WHITE)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def text(words: str) -> bytes:
    return b"text" + bytes(4) + words.encode() + b"\0"


def xyz(*numbers: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(n * 65536) for n in numbers))


def gamma(power: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(power * 256))


def wide_gamut(device: bytes = b"mntr") -> bytes:
    """Adobe RGB (1998) in all but its name."""
    tags = {b"rgb"[i : i + 1] + b"XYZ": xyz(*ADOBE_RGB[i]) for i in range(3)}
    tags |= {b"rgb"[i : i + 1] + b"TRC": gamma(2.2) for i in range(3)}
    return profile(b"RGB ", b"XYZ ", device, tags)


def grey(power: float) -> bytes:
    return profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": gamma(power)})


def press() -> bytes:
    """CMYK, whose inks are lighter by the table for pictures than by the one for logos."""
    tables = {PERCEPTUAL: inks(0.6), COLORIMETRIC: inks(0.9)}
    return profile(b"CMYK", b"Lab ", b"prtr", tables)


def inks(strength: float) -> bytes:
    """Lab from corner to corner of CMYK."""
    straight = bytes(range(256))
    corners = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        light = 100 * (1 - strength * k) * (1 - 0.3 * c) * (1 - 0.3 * m) * (1 - 0.05 * y)
        a, b = 60 * strength * (m - 0.7 * c), 70 * strength * (y - 0.6 * c - 0.2 * m)
        corners += [round(light * 2.55), round(a) + 128, round(b) + 128]
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    head = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix
    return head + straight * 4 + bytes(corners) + straight * 3


def made(space: str) -> bytes:
    """Littlecms's own: sRGB, LAB or XYZ."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]
