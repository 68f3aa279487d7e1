"""Whether the pictures of a batch are pictures."""

from collections import Counter

import numpy as np

from factory.console.amounts import counted
from factory.doctor.finding import Check, failed, ok, warning
from factory.doctor.measured_batch import MeasuredBatch
from factory.pairs.source import Made
from factory.pictures import Picture
from schemas.recipe import Recipe

FLAT = 2.0
"""A standard deviation, of 255, below which a picture shows nothing."""

_NOT_FINITE = (
    "a number format or an autoencoder that overflows: --set recipe.dtype=bfloat16 or float32, or "
    "another recipe.autoencoder"
)
_NOT_TOKENISED = "captions in words that this text encoder knows, by --triplets"
_FLAT = (
    "weights and noise schedule that belong together: compare recipe.text_to_image, its "
    "scheduler_config.json and recipe.autoencoder"
)


def pictures(batch: MeasuredBatch, recipe: Recipe) -> Check[None]:
    """Finite, not flat, of the recipe's size, and the same when made again."""
    count, well = len(batch.outcomes), True
    reasons = Counter(one.reason for one in batch.outcomes if not isinstance(one, Made))
    for reason, times in reasons.items():
        well = False
        remedy = _NOT_TOKENISED if "tokenised" in reason else _NOT_FINITE
        yield failed("pictures", f"{times} of {count} not made: {reason}", remedy)
    flat = sum(is_flat(one.original) or is_flat(one.edited) for one in batch.made)
    if flat:
        well = False
        yield failed("pictures", f"{flat} of {count} pairs hold a picture of one colour", _FLAT)
    if well:
        cut = sum(one.truncated for one in batch.made)
        words = f", {cut} with a prompt that was cut" if cut else ""
        yield ok(
            "pictures", f"{counted(count, 'pair')} of {recipe.size_px} px, finite, not flat{words}"
        )
    yield from _repeats(batch)


def is_flat(picture: Picture) -> bool:
    """Whether all pixels have nearly the same colour."""
    return float(picture.std(axis=(0, 1)).max()) < FLAT


def _repeats(batch: MeasuredBatch) -> Check[None]:
    """A candidate's bytes must not depend on the others in its batch."""
    alone = batch.alone
    if not isinstance(alone, Made):
        return
    among = [one for one in batch.made if one.draw == alone.draw]
    same = [
        np.array_equal(alone.original, one.original) and np.array_equal(alone.edited, one.edited)
        for one in among
    ]
    if not all(same):
        yield warning(
            "repeats",
            "a candidate made twice, alone and among others, gave different pixels",
            "runs on this device will not repeat bit for bit; otherwise they are sound",
        )
