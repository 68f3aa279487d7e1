"""Reads a picture of the miniature's world back into its scene: plain code, no learning.

It is frozen: models are tuned against it, never it against models. Whoever changes what it
answers raises `ORACLE_VERSION`, and figures of different versions do not compare.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from factory.miniature.silhouettes import Silhouette, blur, nearest_silhouette
from factory.miniature.world import COLOURS, SIDE_PX, STYLES, Scene, parse_caption, tint

ORACLE_VERSION = 1

ATTRIBUTES = ("shape", "size", "colour", "background", "style")
PLACEMENT_PX = 4.0
"""How far a centre may move between two pictures and still count as kept."""

# Distances between colours are Euclidean in RGB, 0..255. The nearest two readings (orange and
# yellow, under a veil) lie 40 apart, which also is the least contrast that the world draws.
# One colour may be off by some 14 a channel, both together by some 12.
_LEAST_CONTRAST = 26.0
_COLOUR_OFF = 24.0
_COLOURS_OFF = 30.0
# An edge may stray this far on average; certainty is 0 halfway to another outline.
_EDGE_PX = 1.0
_CERTAINTY = 0.3
# Away from edges a picture is flat: how far off a blotch is, and how much area may be so.
_STAIN = 24.0
_STAINED = 0.02


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What a picture shows; `x` and `y` are the centre as shares of the side."""

    shape: str
    size: str
    colour: str
    background: str
    style: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether a pair shows its edit, and nothing else."""

    edit_done: bool
    rest_kept: bool
    place_kept: bool
    """Whether the centre is where it was; a part of what `rest_kept` asks for."""

    @property
    def true(self) -> bool:
        return self.edit_done and self.rest_kept


UNREADABLE = Judgement(edit_done=False, rest_kept=False, place_kept=False)


def read(picture: NDArray[np.uint8]) -> Sighting | None:
    """The scene in a picture of (64, 64, 3) uint8, or None where it shows none clearly."""
    if picture.shape != (SIDE_PX, SIDE_PX, 3) or picture.dtype != np.uint8:
        raise ValueError(
            f"oracle: a picture must be uint8 of ({SIDE_PX}, {SIDE_PX}, 3),"
            f" got {picture.dtype} of {picture.shape}"
        )
    pixels = picture.astype(np.float64)
    smooth = blur(pixels, 1)
    mask = _mask(smooth)
    if mask is None:
        return None
    silhouette = nearest_silhouette(mask)
    if silhouette.deviation_px > _EDGE_PX or silhouette.certainty < _CERTAINTY:
        return None
    return _verdict(pixels, silhouette)


def judge(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    original_caption: str,
    edited_caption: str,
) -> Judgement:
    """Whether the two pictures read as their captions say, and agree in all else.

    The rest is kept where every attribute that the captions share reads alike in both pictures,
    each background is its caption's, and the centre moved by at most `PLACEMENT_PX`.
    """
    original, edited = parse_caption(original_caption), parse_caption(edited_caption)
    first, second = read(before), read(after)
    if first is None or second is None:
        return UNREADABLE
    shared = [name for name in ATTRIBUTES if getattr(original, name) == getattr(edited, name)]
    moved_px = SIDE_PX * float(np.hypot(first.x - second.x, first.y - second.y))
    place_kept = moved_px <= PLACEMENT_PX
    return Judgement(
        edit_done=_agrees(first, original) and _agrees(second, edited),
        rest_kept=all(getattr(first, name) == getattr(second, name) for name in shared)
        and first.background == original.background
        and second.background == edited.background
        and place_kept,
        place_kept=place_kept,
    )


def matches(picture: NDArray[np.uint8], caption: str) -> bool:
    """Whether every attribute reads as the caption says; no style named means none seen."""
    scene = parse_caption(caption)
    reading = read(picture)
    return reading is not None and _agrees(reading, scene)


def _agrees(reading: Sighting, scene: Scene) -> bool:
    return all(getattr(reading, name) == getattr(scene, name) for name in ATTRIBUTES)


def _mask(smooth: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """How far each pixel lies on the way from the background's colour to the shape's, 0 to 1."""
    border = np.ones(smooth.shape[:2], dtype=bool)
    border[3:-3, 3:-3] = False
    ground = np.median(smooth[border], axis=0)
    distance = np.linalg.norm(smooth - ground, axis=2)
    # The smallest shape covers 4.5 % of the picture, so the top 2 % lie inside of any.
    contrast = float(np.percentile(distance, 98))
    if contrast < _LEAST_CONTRAST:
        return None
    figure = np.median(smooth[distance > 0.75 * contrast], axis=0)
    way = figure - ground
    span = float(way @ way)
    if span < _LEAST_CONTRAST**2:
        return None
    projected: NDArray[np.float64] = (smooth - ground) @ way / span
    return projected.clip(0, 1)


def _verdict(pixels: NDArray[np.float64], silhouette: Silhouette) -> Sighting | None:
    """Colours and flatness under a fitted outline; None where either is off."""
    nearby = blur(silhouette.share[..., None], 2)[..., 0]
    inside, outside = nearby > 0.99, nearby < 0.01
    if np.count_nonzero(inside) < 8:
        inside = silhouette.share > 0.99
    figure = np.median(pixels[inside], axis=0)
    ground = np.median(pixels[outside], axis=0)

    names, palette = _palette()
    offs = np.linalg.norm(palette - np.stack([ground, figure]), axis=2)
    total = np.hypot(offs[:, 0], offs[:, 1])
    best = int(total.argmin())
    if offs[best].max() > _COLOUR_OFF or total[best] > _COLOURS_OFF:
        return None

    flat = inside | outside
    rest = pixels - np.where(inside[..., None], figure, ground)
    # Blur within the flat area only, so that edges do not leak into it.
    weight = blur(flat[..., None].astype(np.float64), 1)
    blotches = blur(rest * flat[..., None], 1)[flat] / weight[flat]
    if (np.linalg.norm(blotches, axis=1) > _STAIN).mean() > _STAINED:
        return None

    style, background, colour = names[best]
    return Sighting(
        shape=silhouette.shape,
        size=silhouette.size,
        colour=colour,
        background=background,
        style=style,
        x=silhouette.x,
        y=silhouette.y,
    )


@cache
def _palette() -> tuple[list[tuple[str, str, str]], NDArray[np.float64]]:
    """(style, background, colour) of every reading, and the two colours as seen, (168, 2, 3)."""
    names = [
        (style, background, colour)
        for style in STYLES
        for background, colour in permutations(COLOURS, 2)
    ]
    seen = [
        tint(np.array([COLOURS[background], COLOURS[colour]], dtype=np.float64), style)
        for style, background, colour in names
    ]
    return names, np.stack(seen)
