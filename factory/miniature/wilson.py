"""How sure a measured share is."""

import math


def wilson(share: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share measured on `count` trials; z = 1.96 is 95 %. Source: Wilson 1927."""
    if not count:
        return 0.0, 1.0
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)
