"""From a stored picture to what the autoencoder reads: same size, same mirror, [-1, 1]."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory.errors import first_line
from schemas.fit import Law

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 64_000_000

Shape = tuple[int, int]
"""Height and width in pixels."""


class UnreadablePicture(ValueError):
    """Bytes that are no picture of the formats that are read."""


def decode(data: bytes) -> Image.Image:
    """An RGB picture. Raises `UnreadablePicture`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UnreadablePicture(f"more than {MOST_PIXELS} pixels")
            return image.convert("RGB")
    except UnreadablePicture:
        raise
    except Exception as error:  # Pillow's own kinds vary with what is amiss
        raise UnreadablePicture(first_line(error, 80)) from None


def fit(image: Image.Image, shape: Shape, flip: bool) -> NDArray[np.uint8]:
    """(3, height, width) bytes, resized whole with Lanczos as the original, mirrored if asked."""
    height, width = shape
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.uint8)
    if flip:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def bucket(width: int, height: int, side: int, multiple: int, most_aspect: float = 2.0) -> Shape:
    """The height and width nearest to an aspect, of about `side`² pixels, multiples of `multiple`.

    Aspects beyond 1 : `most_aspect` are squeezed to it.
    """
    aspect = min(max(width / height, 1 / most_aspect), most_aspect)
    wide = max(1, round(side * aspect**0.5 / multiple)) * multiple
    high = max(1, round(side * side / wide / multiple)) * multiple
    return high, wide


def shape_of(original: Image.Image, law: Law, factor: int) -> Shape:
    """The height and width to which a law brings a pair; `factor` is the autoencoder's."""
    if not law.buckets:
        return law.size_px, law.size_px
    return bucket(*original.size, law.size_px, 8 * factor)
