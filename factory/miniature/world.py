"""The miniature's world: scenes, their pictures, captions and edits. No models here.

A scene is one shape on a plain background, perhaps under a global style. Everything the miniature
ever claims is measured against these definitions, so words, colours and sizes are fixed; the
oracle (`oracle.py`) reads them back from pixels.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE_PX = 64

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
SIZES = ("small", "large")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (50, 170, 70),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 50),
    "purple": (150, 60, 180),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
# A style maps every pixel alike: pixel -> keep * pixel + (1 - keep) * veil.
STYLES: dict[str, tuple[float, tuple[int, int, int]]] = {
    "": (1.0, (0, 0, 0)),
    "at night": (0.55, (0, 0, 40)),
    "in fog": (0.55, (205, 215, 220)),
}
# Half the extent of a shape as a share of the picture's side.
RADIUS = {"small": 0.17, "large": 0.32}
PLACES = (0.35, 0.65)
"""Range of a centre's x and y, as a share of the side."""

EDIT_KINDS = ("colour", "shape", "size", "background", "style")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One shape on one background; `x` and `y` are the centre as shares of the side, in `PLACES`."""

    shape: str
    size: str
    colour: str
    background: str
    style: str = ""
    x: float = 0.5
    y: float = 0.5


def caption(scene: Scene) -> str:
    """The scene in words; placement is not named, so captions leave it to the sampler."""
    style = f", {scene.style}" if scene.style else ""
    return f"a {scene.size} {scene.colour} {scene.shape} on a {scene.background} background{style}"


def parse_caption(text: str) -> Scene:
    """The scene that a caption names, at the centre. Raises `ValueError` for any other text."""
    try:
        return _captioned()[text]
    except KeyError:
        raise ValueError(f"not a caption of the miniature's world: {text!r}") from None


def all_scenes() -> list[Scene]:
    """Every scene that the words can name, centred: 2,016."""
    return [
        Scene(shape=shape, size=size, colour=colour, background=background, style=style)
        for shape, size, colour, background, style in product(
            SHAPES, SIZES, COLOURS, COLOURS, STYLES
        )
        if colour != background
    ]


@cache
def _captioned() -> dict[str, Scene]:
    return {caption(scene): scene for scene in all_scenes()}


def held_out_captions() -> list[str]:
    """The captions that no model may train on: the first 200 by sha256 of their text."""
    return sorted(_captioned(), key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:200]


def place(scene: Scene, rng: random.Random) -> Scene:
    """The scene with its centre drawn anew."""
    return replace(scene, x=rng.uniform(*PLACES), y=rng.uniform(*PLACES))


def sample(rng: random.Random) -> Scene:
    """A scene drawn evenly from all attributes and places."""
    colour, background = rng.sample(list(COLOURS), 2)
    scene = Scene(
        shape=rng.choice(SHAPES),
        size=rng.choice(SIZES),
        colour=colour,
        background=background,
        style=rng.choice(list(STYLES)),
    )
    return place(scene, rng)


def tint(colour: NDArray[np.float64], style: str) -> NDArray[np.float64]:
    """Pixels or colours (last axis RGB, 0..255) as they look under a style."""
    keep, veil = STYLES[style]
    return keep * colour + (1 - keep) * np.array(veil, dtype=np.float64)


def outline(shape: str) -> list[list[tuple[float, float]]]:
    """The polygons that make up a shape, in units of its radius around (0, 0), y down."""

    def ring(radii: list[float], start: float) -> list[tuple[float, float]]:
        count = len(radii)
        return [
            (r * cos(start + 2 * pi * i / count), r * sin(start + 2 * pi * i / count))
            for i, r in enumerate(radii)
        ]

    def box(half_width: float, half_height: float) -> list[tuple[float, float]]:
        w, h = half_width, half_height
        return [(-w, -h), (w, -h), (w, h), (-w, h)]

    match shape:
        case "circle":
            return [ring([1.0] * 64, 0)]
        case "square":
            return [box(0.85, 0.85)]
        case "triangle":
            return [ring([1.1] * 3, -pi / 2)]
        case "diamond":
            return [ring([1.1] * 4, 0)]
        case "star":
            return [ring([1.15, 0.48] * 5, -pi / 2)]
        case "cross":
            return [box(0.35, 1.0), box(1.0, 0.35)]
        case _:
            raise ValueError(f"shape must be one of {SHAPES}, got {shape!r}")


def coverage(
    shape: str, radius: float, x: float, y: float, supersample: int = 4
) -> NDArray[np.float64]:
    """How much of each pixel a shape covers, (64, 64) in [0, 1]; radius and centre as shares."""
    side = SIDE_PX * supersample
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    for polygon in outline(shape):
        pen.polygon([((x + radius * u) * side, (y + radius * v) * side) for u, v in polygon], 255)
    small = mask.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


def render(scene: Scene, supersample: int = 4) -> NDArray[np.uint8]:
    """The scene's picture, (64, 64, 3), anti-aliased."""
    share = coverage(scene.shape, RADIUS[scene.size], scene.x, scene.y, supersample)[..., None]
    inside = np.array(COLOURS[scene.colour], dtype=np.float64)
    outside = np.array(COLOURS[scene.background], dtype=np.float64)
    pixels = tint(share * inside + (1 - share) * outside, scene.style)
    return np.rint(pixels).astype(np.uint8)


def instruction(kind: str, before: Scene, after: Scene, rng: random.Random) -> str:
    """One way of asking for an edit in words."""
    match kind:
        case "colour":
            ways = [f"make the {before.shape} {after.colour}", f"turn it {after.colour}"]
        case "shape":
            ways = [f"turn the {before.shape} into a {after.shape}", f"make it a {after.shape}"]
        case "size":
            ways = [f"make the {before.shape} {after.size}", f"make it {after.size}"]
        case "background":
            ways = [
                f"make the background {after.background}",
                f"on a {after.background} background",
            ]
        case "style":
            ways = {
                "": ["make it a clear day", "clear the sky"],
                "at night": ["make it night", "what if it were night"],
                "in fog": ["make it foggy", "add fog"],
            }[after.style]
        case _:
            raise ValueError(f"edit kind must be one of {EDIT_KINDS}, got {kind!r}")
    return rng.choice(ways)


def edit(scene: Scene, kind: str, rng: random.Random) -> Scene:
    """The scene with one attribute changed; shape and background never get the same colour."""
    colours = [c for c in COLOURS if c not in (scene.colour, scene.background)]
    choices: dict[str, list[str]] = {
        "colour": colours,
        "background": colours,
        "shape": [s for s in SHAPES if s != scene.shape],
        "size": [s for s in SIZES if s != scene.size],
        "style": [s for s in STYLES if s != scene.style],
    }
    changed: dict[str, Any] = {kind: rng.choice(choices[kind])}
    return replace(scene, **changed)


def triplets(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Distinct triplets in the published field names, edit kinds in turn; each stored as one line.

    Raises `ValueError` after the last that there is: a caption's size changes in one way only.
    """
    most = len(EDIT_KINDS) * len(_captioned()) * (len(SIZES) - 1)
    rng = random.Random(seed)
    seen: set[tuple[str, str]] = set()
    while len(seen) < count:
        if len(seen) == most:
            raise ValueError(f"count must be at most {most}, got {count}")
        kind = EDIT_KINDS[len(seen) % len(EDIT_KINDS)]
        before = sample(rng)
        after = edit(before, kind, rng)
        key = (caption(before), caption(after))
        if key in seen:
            continue
        seen.add(key)
        yield {
            "input": key[0],
            "edit": instruction(kind, before, after, rng),
            "output": key[1],
            "edit_kind": kind,
        }
