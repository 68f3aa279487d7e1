"""From a decoded picture to what the autoencoder reads: same size, same mirror."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory.dataset.decoders import Decoders
from factory.dataset.pairs import EditPair
from factory.pictures import Picture
from schemas.training.fit import Law

Shape = tuple[int, int]
"""Height and width in pixels."""
SizedPair = tuple[Shape, NDArray[np.uint8], NDArray[np.uint8]]
"""A pair's shape, its original and its edited picture, each (3, height, width)."""


def resized(picture: Picture, shape: Shape, flip: bool) -> NDArray[np.uint8]:
    """(3, height, width) bytes, resized whole with Lanczos as the original, mirrored if asked.

    diffusers' script resizes with bicubic weights.
    """
    height, width = shape
    if picture.shape[:2] != shape:
        image = Image.fromarray(picture)
        picture = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    if flip:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def bucket(width: int, height: int, side: int, multiple: int, most_aspect: float = 2.0) -> Shape:
    """The height and width nearest to an aspect, of about `side`² pixels, multiples of `multiple`.

    Aspects beyond 1 : `most_aspect` are squeezed to it.
    """
    aspect = min(max(width / height, 1 / most_aspect), most_aspect)
    wide = max(1, round(side * aspect**0.5 / multiple)) * multiple
    high = max(1, round(side * side / wide / multiple)) * multiple
    return high, wide


def sized_pair(
    decoders: Decoders, pair: EditPair, law: Law, factor: int, flip: bool = False
) -> SizedPair:
    """A pair as a law has it; `factor` is the autoencoder's. Raises `ImageRefused`."""
    original, edited = decoders.pair(pair)
    shape = shape_of(original, law, factor)
    return shape, resized(original, shape, flip), resized(edited, shape, flip)


def shape_of(original: Picture, law: Law, factor: int) -> Shape:
    """The height and width to which a law brings a pair; `factor` is the autoencoder's."""
    if not law.buckets:
        return law.size_px, law.size_px
    height, width = original.shape[:2]
    return bucket(width, height, law.size_px, 8 * factor)
