"""The child: a script that knows nothing of the factory, decodes and does no more.

Reads `<length><bytes>` from stdin, writes `<outcome><width><height>` and, for a picture, its pixels
to stdout, until stdin ends. Before the first byte arrives it has given up what it can.
"""

import codecs
import io
import os
import resource
import struct
import sys
import time

from PIL import (
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,  # reads EXIF
    WebPImagePlugin,
)

REQUEST = struct.Struct("<Q")
REPLY = struct.Struct("<4sBII")
MARK = b"\x00img"
READY, PICTURE, FORMAT, PIXELS, DAMAGED, MEMORY = range(6)
OUT_OF_MEMORY = 9
"""Exit code where not even a refusal could be made."""
FORMATS = ("JPEG", "PNG", "WEBP")
PLUGINS = (JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
ENCODINGS = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le", "utf-16-be")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts a picture upright, by its EXIF orientation."""


def decode(data: bytes, most_pixels: int) -> tuple[int, int, int, bytes]:
    """Outcome, width, height and RGB bytes; width and height are the header's where it is refused."""
    if not is_known(data):
        return FORMAT, 0, 0, b""
    width, height = webp_size(data) if data.startswith(b"RIFF") else (0, 0)
    try:
        if width * height <= most_pixels:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
        if width * height > most_pixels:
            return PIXELS, width, height, b""
        image.load()
        picture = upright(in_rgb(image), image)
        return PICTURE, *picture.size, picture.tobytes()
    except MemoryError:
        return MEMORY, width, height, b""
    except Exception:
        # Pillow has many kinds for what it cannot read.
        return DAMAGED, width, height, b""


def is_known(data: bytes) -> bool:
    """Whether it begins as a JPEG, PNG or WEBP."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or webp


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header: Pillow makes room for the whole canvas when it opens one."""
    kind, number = data[12:16], int.from_bytes
    if kind == b"VP8X":
        return 1 + number(data[24:27], "little"), 1 + number(data[27:30], "little")
    if kind == b"VP8L":
        bits = number(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return number(data[26:28], "little") & 0x3FFF, number(data[28:30], "little") & 0x3FFF


def in_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB by the rules in `ImageDecoder`'s docstring."""
    if image.mode == "I;16":
        # Pillow's own conversions of 16 bits have changed between releases.
        return Image.frombytes("L", image.size, image.tobytes()[1::2]).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return white
    return image.convert("RGB")


def upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """As the camera was held; what is no orientation counts as none."""
    try:
        orientation = source.getexif().get(0x0112)
    except Exception:
        return picture
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def give_up(memory: int) -> None:
    """No core dumps, no files, no further descriptors or processes, and no more memory than this."""
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 3,
        "RLIMIT_AS": memory,
    }
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))


def more_time(cpu_s: float) -> None:
    """So much CPU time from now, then the kernel ends this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # The kernel counts whole seconds.
    soft = int(time.process_time() + cpu_s) + 1
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def read(count: int) -> bytes:
    """Exactly so many bytes of stdin; ends the process where it ends."""
    parts: list[bytes] = []
    while count:
        part = os.read(0, min(count, 2**20))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def write(data: bytes) -> None:
    """All of it."""
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


def main(most_pixels: int, memory: int, cpu_s: float) -> None:
    """Until stdin ends."""
    Image.MAX_IMAGE_PIXELS = None  # ours is tested before anything is decoded
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # What Pillow and Python would import from files later, when none can be opened any more.
    Image.preinit()
    for name in ENCODINGS:
        codecs.lookup(name)
    give_up(memory)
    write(REPLY.pack(MARK, READY, 0, 0))
    while True:
        (length,) = REQUEST.unpack(read(REQUEST.size))
        data = read(length)
        more_time(cpu_s)
        outcome, width, height, pixels = decode(data, most_pixels)
        write(REPLY.pack(MARK, outcome, width, height))
        write(pixels)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
