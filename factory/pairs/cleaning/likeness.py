"""Pictures that look alike, by perceptual hashes (`imagehash.phash`: the signs of its lowest 64 cosines).

Two pictures are alike where no more than so many of 64 bits differ: copies in another size, format or
quality mostly within 4. Flat drawings differ in few bits though a person tells them apart.
"""

from collections import defaultdict
from collections.abc import Iterator

from PIL import Image

BITS = 64


def fingerprint(picture: Image.Image) -> int:
    """Of a picture, 64 bits."""
    # Not at the start of every command.
    import imagehash

    return int(str(imagehash.phash(picture)), 16)


def alike(one: int, other: int, near: int) -> bool:
    """Whether two differ in at most so many bits."""
    return (one ^ other).bit_count() <= near


class Fingerprints:
    """Many, numbered from 0 as they come, found by nearness.

    Whoever differs in at most `near` bits has one of `near + 1` bands of bits in common, so that only those
    are compared.
    """

    def __init__(self, near: int) -> None:
        self.near = near
        edges = [BITS * band // (near + 1) for band in range(near + 2)]
        self._bands = [
            (low, (1 << high - low) - 1) for low, high in zip(edges, edges[1:], strict=False)
        ]
        self._held: list[int] = []
        self._numbers: dict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, one: int) -> None:
        """Hold one more."""
        for band in self._in_bands(one):
            self._numbers[band].append(len(self._held))
        self._held.append(one)

    def alike(self, one: int) -> Iterator[int]:
        """Numbers of those that are near it, each once."""
        seen = set()
        for band in self._in_bands(one):
            for number in self._numbers.get(band, ()):
                if number not in seen and alike(self._held[number], one, self.near):
                    seen.add(number)
                    yield number

    def _in_bands(self, one: int) -> Iterator[tuple[int, int]]:
        for number, (low, mask) in enumerate(self._bands):
            yield number, one >> low & mask
