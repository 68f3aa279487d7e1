"""Images for the tests of the decoder: ordinary ones, cut ones, and ones that mean harm."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP")


def pixels(height: int = 40, width: int = 56) -> np.ndarray:
    """Something with edges and slopes in all channels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x // 8 + y // 8) % 2 * 200], -1).astype(
        np.uint8
    )


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def ordinary(format: str) -> bytes:
    """A picture with metadata, whose pixels survive."""
    image = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x010E] = "a description"
    options: dict[str, Any] = {"exif": exif, "icc_profile": b"no profile " * 40}
    if format == "WEBP":
        options["lossless"] = True
    if format == "JPEG":
        options |= {"quality": 95, "comment": b"a comment", "progressive": True}
    return encoded(image, format, **options)


def borders(data: bytes) -> list[int]:
    """Where the chunks, segments or scans of a file begin and end."""
    if data.startswith(b"\x89PNG"):
        found, at = [8], 8
        while at < len(data):
            at += 12 + struct.unpack(">I", data[at : at + 4])[0]
            found += [at - 4, at]
    elif data.startswith(b"RIFF"):
        found, at = [4, 8, 12], 12
        while at < len(data):
            size = struct.unpack("<I", data[at + 4 : at + 8])[0]
            found += [at + 4, at + 8, at + 8 + size + size % 2]
            at = found[-1]
    else:
        found = [i for i in range(len(data) - 1) if data[i] == 255 and data[i + 1] not in (0, 255)]
        found += [i + 2 for i in found]
    return sorted({0, 1, *(at for at in found if at < len(data))})


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """A greyscale PNG by its chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    return data


@cache
def zeros(count: int) -> bytes:
    """So many zero bytes, compressed to a thousandth."""
    return zlib.compress(bytes(count), 9)


def claiming(format: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(encoded(Image.new("RGB", (8, 8)), format))
    if format == "PNG":
        return png(width, height, (b"IDAT", zeros(100)))
    if format == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
        return bytes(data)
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def scan_bomb(side: int, repeats: int) -> bytes:
    """A progressive JPEG that tells its reader to go over the whole picture again and again."""
    data = encoded(Image.new("RGB", (side, side), "white"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * repeats + data[-2:]


def grey_16(values: list[list[int]], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits."""
    raw = b"".join(b"\x00" + np.array(row, ">u2").tobytes() for row in values)
    return png(len(values[0]), len(values), *chunks, (b"IDAT", zlib.compress(raw)), depth=16)


def transparent_palette() -> bytes:
    """A PNG whose first entry is not seen."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    return encoded(image, "PNG", transparency=0)


def animation(format: str, **options: Any) -> bytes:
    """Two frames, of APNG or WEBP."""
    frames = [Image.new("RGB", (4, 4), shade) for shade in ((250, 0, 0), (0, 250, 0))]
    if format == "WEBP":
        options["lossless"] = True
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)


UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}
"""What puts pixels upright, by EXIF orientation."""
KINDS: dict[str, tuple[bytes, list[int]]] = {
    "one bit": (encoded(Image.new("1", (1, 1), 1), "PNG"), [255] * 3),
    "grey": (encoded(Image.new("L", (1, 1), 7), "PNG"), [7] * 3),
    "grey with alpha": (encoded(Image.new("LA", (1, 1), (0, 51)), "PNG"), [204] * 3),
    "transparent": (encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG"), [255] * 3),
    "alpha in WEBP": (
        encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 51)), "WEBP", lossless=True),
        [255, 204, 204],
    ),
    "transparent palette": (transparent_palette(), [255] * 3),
    "transparent colour": (
        encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        [255] * 3,
    ),
    "16 bits": (grey_16([[0x1234]]), [0x12] * 3),
    "16 bits, white": (grey_16([[0xFFFF]]), [0xFF] * 3),
    "16 bits, transparent": (grey_16([[0x1234]], (b"tRNS", b"\x12\x34")), [0x12] * 3),
    "CMYK": (encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), [255] * 3),
    "animated PNG": (animation("PNG"), [250, 0, 0]),
    "animated WEBP": (animation("WEBP"), [250, 0, 0]),
}
"""A picture of each kind, and its first pixel without its profile."""
