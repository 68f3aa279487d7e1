"""Ways in which an object is no picture that can be edited, and the reason that its row gives."""

import io
from dataclasses import dataclass

from PIL import Image

from tests.factory.edits.pictures import file, picture


@dataclass(frozen=True)
class Broken:
    """An object of a place of pictures."""

    what: str
    key: str
    data: bytes
    reason: str
    """What its row says, or a part of it."""


def moving(format: str) -> bytes:
    sink = io.BytesIO()
    picture().save(sink, format, save_all=True, append_images=[picture(1), picture(2)])
    return sink.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


NO_IMAGE, NOT_WHOLE = "must begin as a JPEG, PNG or WEBP", "must decode as a whole image"
HUGE = Image.new("1", (3000, 3000))
BROKEN = [
    Broken("nothing at all", "empty.png", b"", "must have at least one byte, got none"),
    Broken("text", "text.txt", b"hello", NO_IMAGE),
    Broken("text under a picture's name", "text.png", b"hello", NO_IMAGE),
    Broken("a page of the web", "page.jpg", b"<html><body>404</body></html>", NO_IMAGE),
    Broken(
        "a git-lfs pointer",
        "pointer.png",
        b"version https://git-lfs.github.com/spec/v1\n",
        f"{NO_IMAGE}, got a git-lfs pointer of 43 bytes; run git lfs pull",
    ),
    Broken("JSON", "meta.json", b"{}", NO_IMAGE),
    Broken("a film", "film.mp4", b"\0\0\0\x18ftypmp42" + bytes(64), NO_IMAGE),
    Broken("a GIF", "gif.gif", file(picture(), "GIF"), NO_IMAGE),
    Broken("a BMP", "bmp.bmp", file(picture(), "BMP"), NO_IMAGE),
    Broken("a TIFF", "tiff.tif", file(picture(), "TIFF"), NO_IMAGE),
    Broken("an SVG", "svg.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE),
    Broken("a PDF", "pdf.pdf", b"%PDF-1.7\n", NO_IMAGE),
    Broken("zeros", "zeros.png", bytes(1000), NO_IMAGE),
    Broken("a PNG that was cut", "cut.png", file(picture())[:-200], NOT_WHOLE),
    Broken("a JPEG that was cut", "cut.jpg", file(picture(), "JPEG")[:300], NOT_WHOLE),
    Broken(
        "a WEBP that was cut", "cut.webp", file(picture(), "WEBP", lossless=True)[:200], NOT_WHOLE
    ),
    Broken("a PNG with a flipped byte", "flipped.png", flipped(file(picture()), 60), NOT_WHOLE),
    Broken("a moving PNG", "moving.png", moving("PNG"), "must be a still picture, got 3 frames"),
    Broken("a moving WEBP", "moving.webp", moving("WEBP"), "must be a still picture, got 3 frames"),
    Broken(
        "a picture with too many pixels", "huge.png", file(HUGE), "must have at most 8000000 pixels"
    ),
]

TOO_LONG = "key must have at most 512 bytes, 200 between two slashes"
NO_PART = "key must have no part that is empty or begins with a dot"
LOST = [
    Broken("a key that begins with a slash", "/slash.png", file(picture()), NO_PART),
    Broken("a key with two slashes", "a//b.png", file(picture()), NO_PART),
    Broken("a hidden folder", "a/.hidden/b.png", file(picture()), NO_PART),
    Broken("a way up", "a/../b.png", file(picture()), NO_PART),
    Broken(
        "a key among the records, where no run is",
        "_editmill/mine.png",
        file(picture()),
        "key must not lie below _editmill/, where the run's records are",
    ),
    Broken("a name of 205 bytes", "字" * 67 + ".jpg", file(picture()), TOO_LONG),
    Broken("a key of 513 bytes", "a/" * 255 + "bcd", file(picture()), TOO_LONG),
    Broken("a tab in a key", "tab\t.png", file(picture()), "key must have no control characters"),
]
"""Of a bucket: keys under which nothing may lie."""
ABSENT = [
    Broken("a picture that a request names and nobody has", "gone.png", b"", "no such picture"),
]
