"""Pictures with metadata that is large, broken or strange."""

import struct
import zlib

from PIL import Image

from tests.security.images import encoded, pixels, zeros


def chunk(name, body, crc=None):
    checked = struct.pack(">I", zlib.crc32(name + body) if crc is None else crc)
    return struct.pack(">I", len(body)) + name + body + checked


def png_with(*chunks):
    """An ordinary PNG with others right after its header."""
    whole = encoded(Image.fromarray(pixels()), "PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def jpeg_with(*segments):
    """An ordinary JPEG with others right after its beginning."""
    whole = encoded(Image.fromarray(pixels()), "JPEG", quality=95)
    parts = (b"\xff" + mark + struct.pack(">H", len(body) + 2) + body for mark, body in segments)
    return whole[:2] + b"".join(parts) + whole[2:]


def webp_with(*chunks, **options):
    """A WEBP with others at its end."""
    whole = encoded(Image.fromarray(pixels()), "WEBP", lossless=True, **options)
    added = b"".join(name + struct.pack("<I", size) + body for name, size, body in chunks)
    return whole[:4] + struct.pack("<I", len(whole) + len(added) - 8) + whole[8:] + added


TURNED = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
"""EXIF that says no more than that a picture is to be turned by 90 degrees."""
ODD = {
    "a large compressed text": png_with(chunk(b"zTXt", b"workflow\0\0" + zeros(2**22))),
    "a bomb in a text": png_with(chunk(b"zTXt", b"a\0\0" + zeros(2**28))),
    "a large international text": png_with(
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zeros(2**22)), chunk(b"iTXt", b"nothing")
    ),
    "a bomb in a profile": png_with(chunk(b"iCCP", b"a\0\0" + zeros(2**28))),
    "a cut profile": png_with(chunk(b"iCCP", b"a\0\0" + zeros(2**10)[:9])),
    "a wrong checksum of a text": png_with(chunk(b"tEXt", b"a\0b", crc=0)),
    "sizes and gamma that are cut": png_with(chunk(b"pHYs", b"\0"), chunk(b"gAMA", b"")),
    "a chunk that nobody knows": png_with(chunk(b"caNv", bytes(2**20))),
    "a broken profile in a JPEG": jpeg_with(
        (b"\xe2", b"ICC_PROFILE\0"), (b"\xe2", b"MPF\0MM\0*\0")
    ),
    "a JPEG's text and its maker's notes": jpeg_with(
        (b"\xfe", b"a" * 65000), (b"\xed", b"Photoshop 3.0\x008BIM\x04\x04\xff"), (b"\xef", b"x")
    ),
    "broken EXIF in a JPEG": jpeg_with((b"\xe1", b"Exif\0\0MM\0*\xff\xff\xff\xff")),
    "a half beginning of a JPEG": jpeg_with((b"\xe0", b"JFIF"), (b"\xee", b"Adobe")),
    "a profile of a WEBP that is none": webp_with(icc_profile=b"no profile " * 40),
    "EXIF of a WEBP that ends behind it": webp_with((b"EXIF", 2**20, b"II"), exif=b"Exif\0\0II*\0"),
    "XMP of a WEBP that ends behind it": webp_with((b"XMP ", 999, b"<x"), xmp=b"<x>"),
}
