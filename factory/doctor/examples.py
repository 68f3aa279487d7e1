"""The candidates that the doctor has made: a few edit kinds, as the run would draw them."""

from collections.abc import Sequence
from itertools import islice, zip_longest

from factory.pairs.source import Draw, draws
from factory.pairs.triplets import read_triplets
from schemas.recipe import Recipe
from schemas.triplet import Triplet

KINDS = 4
"""At most so many triplets, of different edit kinds where there are."""

_PHOTOGRAPHS = (
    ("a photo of a brown dog running on a beach", "turn it into a cat", "dog", "cat", "object"),
    ("a wooden house beside a lake in summer", "make it winter", "summer", "winter", "season"),
    ("a portrait of a man with a red hat", "make the hat blue", "red", "blue", "colour"),
    (
        "a photo of a city street by day",
        "make it an oil painting",
        "photo",
        "oil painting",
        "style",
    ),
)


def bundled(recipe: Recipe) -> list[Triplet]:
    """Triplets that suit the model: the miniature's own, or everyday photographs."""
    if recipe.text_to_image.source == "miniature":
        return read_triplets("miniature").triplets
    return [
        Triplet(
            original_prompt=caption,
            edit_prompt=edit,
            edited_prompt=caption.replace(old, new),
            edit_kind=kind,
        )
        for caption, edit, old, new, kind in _PHOTOGRAPHS
    ]


def examples(recipe: Recipe, triplets: Sequence[Triplet], count: int) -> list[Draw]:
    """`count` candidates of the run, the first tries of a few triplets in turn."""
    by_kind: dict[str | None, Triplet] = {}
    for triplet in triplets:
        by_kind.setdefault(triplet.edit_kind, triplet)
    chosen = list(by_kind.values())[:KINDS]
    others = (triplet for triplet in triplets if triplet not in by_kind.values())
    chosen += islice(others, KINDS - len(chosen))
    enough = recipe.model_copy(update={"candidates": -(-count // len(chosen))})
    columns = zip_longest(*(draws(enough, triplet) for triplet in chosen))
    return [draw for column in columns for draw in column if draw][:count]
