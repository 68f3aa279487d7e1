"""Whether a pipeline may be called for several pictures at once: calls for several beside calls for one.

Public pipelines get this wrong without a word: one takes the size of the first picture for all, one takes
a list of pictures as references of every edit, one refuses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from factory.errors import first_line
from factory.pictures import Picture

R = TypeVar("R")
TOLERANCE = 2.0
"""Levels of 0..255, the mean over a picture: numbers of 16 bits summed in another order stay below it, a
picture that another one leaks into does not."""


@dataclass(frozen=True)
class Batching:
    """How many pictures a call is for, and why."""

    size: int
    words: str | None = None
    """None where nothing was compared."""


def compare(
    make: Callable[[Sequence[R]], Sequence[Picture | str]], rows: Sequence[R], size: int
) -> Batching:
    """What is made of `rows`, two or more of one shape, alone and in calls for `size`, which is 2 or more.

    Together is allowed where each comes out within `TOLERANCE` of what it is alone, and to the bit the same
    beside others, in another place, and beside copies of itself: what is made then depends on the size of
    the call and on nothing else of it. `make` gives a picture or the reason why there is none, for each.
    """
    mates = [rows[place % len(rows)] for place in range(size)]

    def no(why: str) -> Batching:
        return Batching(1, f"one by one, since {why}")

    alone: list[Picture] = []
    for row in rows[:size]:
        found = _tried(make, [row])
        if isinstance(found, str) or isinstance(found[0], str):
            why = found if isinstance(found, str) else found[0]
            return no(f"a first picture could not be edited alone: {why}")
        alone.append(found[0])
    calls = [_tried(make, one) for one in (mates, mates[::-1], [rows[0]] * size)]
    made: list[Picture] = []
    for found in calls:
        for one in [found] if isinstance(found, str) else found:
            if isinstance(one, str):
                return no(f"a call for {size} pictures fails: {one}")
            made.append(one)
    if any(one.shape != alone[0].shape for one in made):
        return no(f"a call for {size} pictures gives other shapes")
    apart = max(
        float(np.abs(one.astype(int) - alone[place % len(alone)]).mean())
        for place, one in enumerate(made[:size])
    )
    found_at = f"{apart:.3g} levels of 255 from what they are alone (at most {TOLERANCE:g})"
    if apart > TOLERANCE:
        return no(f"of {size} in a call pictures come out {found_at}")
    together, turned = made[:size], made[size : 2 * size][::-1]
    same = all((one == other).all() for one, other in zip(together, turned, strict=True))
    if not (same and (made[-1] == together[0]).all()):
        return no(f"of {size} in a call what others are in it changes a picture")
    return Batching(size, f"{size} in a call, where pictures come out {found_at}")


def _tried(
    make: Callable[[Sequence[R]], Sequence[Picture | str]], rows: Sequence[R]
) -> Sequence[Picture | str] | str:
    """What a call makes, or what it raises: where it takes no batch, or has no memory for one."""
    try:
        return make(rows)
    except Exception as error:  # of as many kinds as there are pipelines
        return first_line(error)
