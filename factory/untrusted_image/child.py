"""The child: a script that knows nothing of the factory, decodes and does no more.

Reads `<opens><length><bytes>` from stdin, writes `<outcome><had><width><height>` and, for a picture,
its pixels to stdout, until stdin ends. Before the first byte arrives it has given up what it can.
"""

import codecs
import io
import os
import resource
import struct
import sys
import time
from typing import NamedTuple

from PIL import (
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,  # reads EXIF
    WebPImagePlugin,
)

REQUEST = struct.Struct("<?Q")
REPLY = struct.Struct("<4sBBII")
MARK = b"\x00img"
READY, PICTURE, FORMAT, PIXELS, DAMAGED, MEMORY, ANIMATED = range(7)
ALPHA, PROFILE = 1, 2
"""What a picture had that its pixels no longer show: something transparent, colours of another space."""
MOST_CHUNKS = 100_000
"""A file of more is left as it is."""
COLOURS = ((b"\xe0", b"JFIF\0"), (b"\xee", b"Adobe"))
"""Segments of a JPEG that say how its channels are meant."""
PNG_NAMES = {b"eXIf": "exif", b"iCCP": "profile", b"acTL": "frames", b"fcTL": "frames"}
WEBP_NAMES = {b"EXIF": "exif", b"ICCP": "profile", b"XMP ": "xmp"}
DECODED = ("exif",)
"""What `decode` reads beside the pixels."""
OPENED = ("exif", "profile", "frames")
"""And `open`: the colours' profile, and how many frames a PNG has."""
FEWER = {False: (DECODED, ()), True: (OPENED, ("exif", "frames"), ("frames",), ())}
"""What is kept of the metadata in one try after the other, by whether a picture is opened."""
FLAGS = {"exif": 8, "profile": 32, "xmp": 4}
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


class Found(NamedTuple):
    """RGB bytes and what else they `had`; where refused, the header's size, or the frames as its width."""

    outcome: int
    width: int = 0
    height: int = 0
    pixels: bytes = b""
    had: int = 0


def decode(data: bytes, most_pixels: int, opens: bool) -> Found:
    """By the rules of `ImageDecoder.decode`, or of its `open`.

    What says nothing of pixels makes no picture unreadable: it is taken out where one cannot be read, at
    last with what tells how the camera was held.
    """
    if not format_of(data):
        return Found(FORMAT)
    found, tried = decode_whole(data, most_pixels, opens), data
    for keeps in FEWER[opens]:
        bare = without_metadata(data, keeps)
        if found.outcome == DAMAGED and bare != tried:
            found, tried = decode_whole(bare, most_pixels, opens), bare
    return found


def decode_whole(data: bytes, most_pixels: int, opens: bool) -> Found:
    """As `decode`, with all that is in it."""
    width, height = webp_size(data) if data.startswith(b"RIFF") else (0, 0)
    try:
        if width * height <= most_pixels:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
        if width * height > most_pixels:
            return Found(PIXELS, width, height)
        # A camera's MPO is one picture, with smaller copies or another eye's view behind it.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if opens and frames > 1:
            return Found(ANIMATED, frames)
        image.load()
        flat, had = in_rgb(image, image.info.get("icc_profile") if opens else None)
        picture = upright(flat, image)
        return Found(PICTURE, *picture.size, picture.tobytes(), had)
    except MemoryError:
        return Found(MEMORY, width, height)
    except Exception:
        # Pillow has many kinds for what it cannot read.
        return Found(DAMAGED, width, height)


def format_of(data: bytes) -> str:
    """One of `FORMATS`, as it begins; empty where it is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    beginnings = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}
    return next((name for name, begin in beginnings.items() if data.startswith(begin)), "")


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header: Pillow makes room for the whole canvas when it opens one."""
    kind, number = data[12:16], int.from_bytes
    if kind == b"VP8X":
        return 1 + number(data[24:27], "little"), 1 + number(data[27:30], "little")
    if kind == b"VP8L":
        bits = number(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return number(data[26:28], "little") & 0x3FFF, number(data[28:30], "little") & 0x3FFF


def without_metadata(data: bytes, keeps: tuple[str, ...] = DECODED) -> bytes:
    """The same picture with `keeps` and what decides its pixels; unchanged where that cannot be told."""
    return {b"\x89PNG": bare_png, b"RIFF": bare_webp}.get(data[:4], bare_jpeg)(data, keeps)


def bare_png(data: bytes, keeps: tuple[str, ...]) -> bytes:
    """Critical chunks, by their large first letter, and transparency; cut where the file was."""
    kept, at = [data[:8]], 8
    for _ in range(MOST_CHUNKS):
        name = data[at + 4 : at + 8]
        if not name.isalpha():
            break
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if name[:1].isupper() or name == b"tRNS" or PNG_NAMES.get(name) in keeps:
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    return b"".join([*kept, data[at:]])


def bare_jpeg(data: bytes, keeps: tuple[str, ...]) -> bytes:
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
        is_profile = marker == b"\xe2" and data[at + 4 : at + 16] == b"ICC_PROFILE\0"
        is_kept = ("exif" in keeps and marker == b"\xe1") or ("profile" in keeps and is_profile)
        if about_colours or not says_nothing or is_kept:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def bare_webp(data: bytes, keeps: tuple[str, ...]) -> bytes:
    """Without descriptions; where it was cut, as it is."""
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
        is_metadata = name in WEBP_NAMES and (is_cut or WEBP_NAMES[name] not in keeps)
        if is_cut and not is_metadata:
            return data
        chunk = data[at : end + size % 2]
        if name == b"VP8X":
            dropped = sum(flag for what, flag in FLAGS.items() if what not in keeps)
            chunk = chunk[:8] + bytes(flags & ~dropped for flags in chunk[8:9]) + chunk[9:]
        if not is_metadata:
            kept.append(chunk)
        at = end + size % 2
    else:
        return data
    body = b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def in_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, int]:
    """8-bit RGB by the rules in `ImageDecoder`'s docstring, and `ALPHA` and `PROFILE` if it had them."""
    if image.mode == "I;16":
        # Pillow's own conversions of 16 bits have changed between releases.
        image = Image.frombytes("L", image.size, image.tobytes()[1::2])
    colours, alpha, had = image, None, 0
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        alpha = colours.getchannel("A")
        # Of many a screenshot nothing shines through.
        alpha, had = (alpha, ALPHA) if any(alpha.histogram()[:255]) else (None, 0)
    if profile:
        is_grey = image.mode in ("1", "L", "LA")
        in_srgb = by_profile(image.convert("L") if is_grey else colours, profile)
        if in_srgb:
            colours, had = in_srgb, had | PROFILE
    if alpha is None:
        return colours.convert("RGB"), had
    white = Image.new("RGB", image.size, "white")
    white.paste(colours, mask=alpha)
    return white, had


def by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """In sRGB; None where its ICC profile is broken or is of other colours than it has.

    Perceptual and without flags, which is Pillow's default and what browsers take: a camera's or
    monitor's profile has but one way, and of a press's tables it is the one that is made for pictures.
    """
    if image.mode == "P":
        image = image.convert("RGB")
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        transform = ImageCms.ImageCmsTransform(given, srgb, image.mode, mode)
    except MemoryError:
        raise
    except Exception:
        # Littlecms's own word, on broken ones and on colours that are not the picture's.
        return None
    # In place there is no second picture, and alpha stays what it was.
    return transform.apply(image, image if image.mode == mode else None)


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
    write(REPLY.pack(MARK, READY, 0, 0, 0))
    while True:
        opens, length = REQUEST.unpack(read(REQUEST.size))
        data = read(length)
        more_time(cpu_s)
        found = decode(data, most_pixels, opens)
        write(REPLY.pack(MARK, found.outcome, found.had, found.width, found.height))
        write(found.pixels)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
