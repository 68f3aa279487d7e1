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
MOST_CHUNKS = 100_000
"""A file of more is left as it is."""
COLOURS = ((b"\xe0", b"JFIF\0"), (b"\xee", b"Adobe"))
"""Segments of a JPEG that say how its channels are meant."""
EXIF_FLAG, PROFILE_FLAG, XMP_FLAG = 8, 32, 4
"""Of a WEBP's header, for what comes with it."""
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
    """Outcome, width, height and RGB bytes; width and height are the header's where it is refused.

    What says nothing of pixels makes no picture unreadable: it is taken out where one cannot be read, at
    last with what tells how the camera was held.
    """
    if not is_known(data):
        return FORMAT, 0, 0, b""
    found, tried = decode_whole(data, most_pixels), data
    for keeps_exif in (True, False):
        bare = without_metadata(data, keeps_exif)
        if found[0] == DAMAGED and bare != tried:
            found, tried = decode_whole(bare, most_pixels), bare
    return found


def decode_whole(data: bytes, most_pixels: int) -> tuple[int, int, int, bytes]:
    """As `decode`, with all that is in it."""
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


def without_metadata(data: bytes, keeps_exif: bool = True) -> bytes:
    """The same picture with nothing but what decides its pixels; unchanged where that cannot be told."""
    return {b"\x89PNG": bare_png, b"RIFF": bare_webp}.get(data[:4], bare_jpeg)(data, keeps_exif)


def bare_png(data: bytes, keeps_exif: bool) -> bytes:
    """Critical chunks, by their large first letter, and transparency; cut where the file was."""
    kept, at = [data[:8]], 8
    for _ in range(MOST_CHUNKS):
        name = data[at + 4 : at + 8]
        if not name.isalpha():
            break
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if name[:1].isupper() or name == b"tRNS" or (keeps_exif and name == b"eXIf"):
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    return b"".join([*kept, data[at:]])


def bare_jpeg(data: bytes, keeps_exif: bool) -> bytes:
    """Up to the first scan without comments, and of the applications' segments those about colours."""
    kept, at = [data[:2]], 2
    for _ in range(MOST_CHUNKS):
        marker = data[at + 1 : at + 2]
        if data[at : at + 1] != b"\xff" or marker < b"\xc0" or b"\xd0" <= marker <= b"\xda":
            break
        if marker == b"\xff":  # fills up
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        about_colours = (marker, data[at + 4 : at + 9]) in COLOURS and end - at >= 16
        says_nothing = b"\xe0" <= marker <= b"\xef" or marker == b"\xfe"
        if about_colours or not says_nothing or (keeps_exif and marker == b"\xe1"):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def bare_webp(data: bytes, keeps_exif: bool) -> bytes:
    """Without a profile and descriptions; where it was cut, as it is."""
    kept, at, number = [b"WEBP"], 12, int.from_bytes
    until = 8 + number(data[4:8], "little")
    if until > len(data):
        return data
    for _ in range(MOST_CHUNKS):
        if at >= until:
            break
        name, size = data[at : at + 4], number(data[at + 4 : at + 8], "little")
        end = at + 8 + size
        is_cut = end > len(data)
        is_metadata = name in (b"ICCP", b"XMP ") or (name == b"EXIF" and (is_cut or not keeps_exif))
        if is_cut and not is_metadata:
            return data
        chunk = data[at : end + size % 2]
        if name == b"VP8X":
            dropped = PROFILE_FLAG | XMP_FLAG | EXIF_FLAG * (not keeps_exif)
            chunk = chunk[:8] + bytes(flags & ~dropped for flags in chunk[8:9]) + chunk[9:]
        if not is_metadata:
            kept.append(chunk)
        at = end + size % 2
    else:
        return data
    body = b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


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
