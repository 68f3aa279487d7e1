"""Words for plain attributes: colour, size, shape, light. No other word tells what one of them asks for.

Only words that have no near neighbours are here: a sea may turn "azure" where "blue" was asked for, and no
rule should mind. Where a caption changes in such words alone, it is known what was done to the picture.
"""

from collections.abc import Iterable

COLOUR, SIZE, SHAPE, LIGHT = "colour", "size", "shape", "light"

_COLOURS = "red green blue yellow purple orange pink brown black white"
_SHAPES = "circle square triangle star diamond cross rectangle oval hexagon heart"
_OF_SEVERAL_WORDS = {
    (SIZE, "small"): "small smaller little tiny",
    (SIZE, "large"): "large larger big bigger huge giant enormous",
    (COLOUR, "grey"): "grey gray",
    (LIGHT, "night"): "night nighttime",
    (LIGHT, "fog"): "fog foggy mist misty",
    (LIGHT, "day"): "day daytime daylight",
}

_SAYING_NOTHING = "make turn add set have give change paint color colour background what if"
_PLAIN = frozenset(_SAYING_NOTHING.split())
"""Words of an instruction that say nothing of what is to come."""

Attribute = tuple[str, str]
"""Its kind, and its value."""

_ATTRIBUTES: dict[str, Attribute] = {
    **{word: (COLOUR, word) for word in _COLOURS.split()},
    **{word: (SHAPE, word) for word in _SHAPES.split()},
    **{word: value for value, words in _OF_SEVERAL_WORDS.items() for word in words.split()},
}


def attributes(words: Iterable[str]) -> set[Attribute]:
    """Those that are named."""
    return {_ATTRIBUTES[word] for word in words if word in _ATTRIBUTES}


def are_attributes(words: Iterable[str]) -> bool:
    """Whether nothing but attributes is named."""
    return all(word in _ATTRIBUTES for word in words)


def are_named(asked: Iterable[str], lost: Iterable[str], gained: Iterable[str]) -> bool:
    """Whether an attribute that came is asked for by a word of its own, or a light that went by another."""
    named, came = attributes(asked), attributes(gained)
    lights = {value for value in named if value[0] == LIGHT}
    return bool(named & came or (lights and any(kind == LIGHT for kind, _ in attributes(lost))))


def is_undone(before: list[str], asked: list[str], lost: list[str], gained: list[str]) -> bool:
    """Whether attributes are asked for, and others came or went in their place, and nothing else.

    Colours may follow from the light: where night is asked for and a sky turns black, it may be done. An
    attribute that was there names what is meant, unless nothing else is asked.
    """
    if not (lost or gained) or not are_attributes((*lost, *gained)):
        return False
    named, came = attributes(asked), attributes(gained)
    wanted = named - attributes(before)
    if not wanted:
        only_named = all(word in _ATTRIBUTES or word in _PLAIN or word in before for word in asked)
        return bool(named) and only_named and not named & attributes(lost)
    if wanted & came:
        return False
    changed = {kind for kind, _ in attributes((*lost, *gained))}
    went_elsewhere = changed.isdisjoint({LIGHT, COLOUR}) or any(kind == LIGHT for kind, _ in came)
    return all(went_elsewhere for kind, _ in wanted if kind == LIGHT)
