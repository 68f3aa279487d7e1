"""Which split a prompt belongs to: by its own hash, so that one prompt never lies on two sides.

A random split of pairs puts every prompt of the test set into training as well, for a run keeps several
pairs of a triplet, and lists hold a caption in several spellings.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from schemas.export import SPLITS

TRAIN, VALIDATION, TEST = SPLITS
PURPOSE = b"editmill split\0"
"""So that the split is a draw of its own, which tells nothing of seeds or shards."""


def plain_text(prompt: str) -> str:
    """A prompt but for case, blanks and punctuation; of signs alone the signs."""
    text = unicodedata.normalize("NFKC", prompt).casefold()
    letters = "".join(c for c in text if unicodedata.category(c)[0] in "LNM")
    return letters or "".join(text.split())


@lru_cache(maxsize=65_536)
def place_of(prompt: str) -> int:
    """Where a prompt stands among all there could be, 0..2**64-1; equal for prompts that are one."""
    digest = hashlib.sha256(PURPOSE + plain_text(prompt).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def bounds(places: Iterable[int], validation: float, test: float) -> tuple[int, int]:
    """Below which place a prompt is tested, and below which it validates; all others train.

    They are shares of all places, so that a prompt stays where it is when others are added. Only where
    that would leave a split empty they give way: from three prompts on none is, whose share is not 0.
    """
    order = sorted(set(places))
    whole, count = 2**64, len(order)
    wanted = (test > 0, validation > 0)
    least = sum(wanted) + 1
    first, second = int(test * whole), int((test + validation) * whole)
    if count < max(3, least):
        return 0, 0
    tested = sum(place < first for place in order)
    held = sum(place < second for place in order)
    # Boundaries as counts of prompts, moved no further than they must.
    fewest = int(wanted[0])
    most = count - 1 - int(wanted[1])
    right_tested = min(max(tested, fewest), most)
    right_held = min(max(held, right_tested + int(wanted[1])), count - 1)
    if right_tested != tested:
        first = order[right_tested]
    if right_held != held or second < first:
        second = order[right_held]
    return first, second


def split_of(place: int, bounds: tuple[int, int]) -> str:
    """A prompt's split."""
    tested, held = bounds
    return TEST if place < tested else VALIDATION if place < held else TRAIN
