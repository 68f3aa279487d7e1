"""Pixels to file bytes, the same bytes every time."""

import io

from PIL import Image

from factory.pairs.source import Picture
from schemas.recipe import Codec


def encode(picture: Picture, codec: Codec) -> bytes:
    """PNG, or JPEG without chroma subsampling; no timestamps, no EXIF."""
    sink = io.BytesIO()
    image = Image.fromarray(picture)
    if codec.format == "png":
        image.save(sink, "PNG", compress_level=6)
    else:
        image.save(sink, "JPEG", quality=codec.quality, subsampling=0)
    return sink.getvalue()
