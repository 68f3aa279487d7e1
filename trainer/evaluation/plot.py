"""The trade-off curve: CLIP's image similarity against its directional similarity, a line an editor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.evaluation.drawing import Dot, Drawing, Label, Stroke
from trainer.evaluation.points import Estimate

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 78, 610, 64, 452
"""The plane within."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Told apart by those who see few colours. Source: Okabe & Ito 2008."""
GRID, INK, GREY = "#e4e4e4", "#222222", "#666666"
MOST_WORDS = 30


@dataclass(frozen=True)
class Curve:
    """An editor's points in the order in which they are joined."""

    name: str
    points: Sequence[tuple[Estimate, Estimate]]
    """Directional similarity and image similarity of each."""
    sweep: str
    """What changes along it, in words."""
    ends: tuple[str, str] | None = None
    """What its first and last points are called; None where there is one."""


@dataclass(frozen=True)
class _Axis:
    """From figures to pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def plot(curves: Sequence[Curve], below: str) -> Drawing:
    """The drawing; `below` is the line under its title. Curves without a figure are left out."""
    drawn = [
        Curve(c.name, kept, c.sweep, c.ends)
        for c in curves
        if (kept := [(x, y) for x, y in c.points if x.value is not None and y.value is not None])
    ]
    values = [[p[axis] for c in drawn for p in c.points] for axis in (0, 1)]
    (xs, x_ticks), (ys, y_ticks) = (_scale(of) for of in values)
    x, y = _Axis(*xs, LEFT, RIGHT), _Axis(*ys, BOTTOM, TOP)
    parts: list[Stroke | Dot | Label] = [
        Label(LEFT, 22, "What an edit changes against what it keeps", 17),
        Label(LEFT, 44, below, 12, GREY),
    ]
    for tick in x_ticks:
        at = x.at(tick)
        parts += [Stroke([(at, TOP), (at, BOTTOM)], GRID)]
        parts += [Label(at, BOTTOM + 15, _tick(tick, x_ticks), 12, GREY, "middle")]
    for tick in y_ticks:
        at = y.at(tick)
        parts += [Stroke([(LEFT, at), (RIGHT, at)], GRID)]
        parts += [Label(LEFT - 8, at, _tick(tick, y_ticks), 12, GREY, "end")]
    parts += [
        Stroke([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], INK),
        Label(
            (LEFT + RIGHT) / 2,
            BOTTOM + 42,
            "CLIP directional similarity (cosine): more of the edit to the right",
            13,
            INK,
            "middle",
        ),
        Label(
            20,
            (TOP + BOTTOM) / 2,
            "CLIP image similarity (cosine): more is kept above",
            13,
            INK,
            "middle",
            upwards=True,
        ),
    ]
    for number, curve in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        parts += _curve(curve, colour, x, y)
        parts += _entry(curve, colour, TOP + 14 + 52 * number)
    parts.append(Label(RIGHT + 24, 44, "bars: 95 % of resamples of the pictures", 11, GREY))
    return Drawing(WIDTH, max(HEIGHT, TOP + 60 + 52 * len(drawn)), parts)


def _curve(curve: Curve, colour: str, x: _Axis, y: _Axis) -> list[Stroke | Dot | Label]:
    places = [(x.at(a.value or 0), y.at(b.value or 0)) for a, b in curve.points]
    parts: list[Stroke | Dot | Label] = []
    for (px, py), (a, b) in zip(places, curve.points, strict=True):
        if a.low is not None and a.high is not None:
            parts.append(Stroke([(x.at(a.low), py), (x.at(a.high), py)], colour, 0.7))
        if b.low is not None and b.high is not None:
            parts.append(Stroke([(px, y.at(b.low)), (px, y.at(b.high))], colour, 0.7))
    if len(places) > 1:
        parts.append(Stroke(places, colour, 2.2))
    parts += [Dot(px, py, 3.6, colour) for px, py in places]
    # The first point is hollow, so that the way along the curve can be told.
    if len(places) > 1:
        parts.append(Dot(*places[0], 1.8, "#ffffff"))
    return parts


def _entry(curve: Curve, colour: str, y: float) -> list[Stroke | Dot | Label]:
    """Of the legend."""
    x = RIGHT + 24
    parts: list[Stroke | Dot | Label] = [
        Stroke([(x, y), (x + 26, y)], colour, 2.2),
        Dot(x + 13, y, 3.6, colour),
        Label(x + 34, y, _short(curve.name), 13),
    ]
    if curve.ends is None:
        return [*parts, Label(x + 34, y + 17, _short(curve.sweep), 11, GREY)]
    first, last = curve.ends
    return [
        *parts,
        Label(x + 34, y + 17, _short(curve.sweep), 11, GREY),
        Label(x + 34, y + 32, f"from {first} (hollow) to {last}", 11, GREY),
    ]


def _short(text: str) -> str:
    return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 3] + "..."


def _scale(values: Sequence[Estimate]) -> tuple[tuple[float, float], list[float]]:
    """The figures of an axis' ends, and round ones between them."""
    known = [v for one in values for v in (one.value, one.low, one.high) if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-3:
        low, high = low - 0.05, high + 0.05
    step = _step((high - low) / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [round(n * step, 9) for n in range(first, last + 1)]
    return (ticks[0], ticks[-1]), ticks


def _step(rough: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below it."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _tick(value: float, ticks: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{value:.{digits}f}"
