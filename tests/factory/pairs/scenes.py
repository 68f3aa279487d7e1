"""Pictures in tables of pairs."""

import io

import numpy as np
from PIL import Image


def decoded(stored):
    """Its pixels (height, width, 3) as whole numbers with a sign."""
    data = stored["bytes"] if isinstance(stored, dict) else stored
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
