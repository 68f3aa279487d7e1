"""Pictures in memory, and their file bytes, which are the same every time."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.recipe import Codec

Picture = NDArray[np.uint8]
"""Pixels, (height, width, 3)."""


def encode(picture: Picture, codec: Codec) -> bytes:
    """PNG, or JPEG without chroma subsampling; no timestamps, no EXIF."""
    sink = io.BytesIO()
    image = Image.fromarray(picture)
    if codec.format == "png":
        image.save(sink, "PNG", compress_level=6)
    else:
        image.save(sink, "JPEG", quality=codec.quality, subsampling=0)
    return sink.getvalue()
