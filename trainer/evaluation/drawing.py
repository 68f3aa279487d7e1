"""A drawing of lines, dots and words, as SVG text and as a PNG of the same places."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

Anchor = Literal["start", "middle", "end"]
FINER = 3
"""The PNG is drawn so much larger, and made smaller again."""


@dataclass(frozen=True)
class Stroke:
    """Joined points; places are in pixels from the upper left."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A disc."""

    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True)
class Label:
    """One line of text, its middle at the height of its place."""

    x: float
    y: float
    text: str
    size: float = 13.0
    colour: str = "#222222"
    anchor: Anchor = "start"
    upwards: bool = False
    """Whether it is read from below."""


@dataclass(frozen=True)
class Drawing:
    """All on white, in order."""

    width: int
    height: int
    parts: Sequence[Stroke | Dot | Label]

    def svg(self) -> bytes:
        """For pages."""
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="sans-serif">',
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>',
            *map(_svg, self.parts),
            "</svg>",
        ]
        return ("\n".join(lines) + "\n").encode()

    def png(self) -> bytes:
        """For readers that show no SVG."""
        size = self.width * FINER, self.height * FINER
        image = Image.new("RGB", size, "white")
        for part in self.parts:
            _draw(image, part)
        image = image.resize((self.width * 2, self.height * 2), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        image.save(sink, "PNG")
        return sink.getvalue()


def _svg(part: Stroke | Dot | Label) -> str:
    match part:
        case Stroke():
            points = " ".join(f"{x:.2f},{y:.2f}" for x, y in part.points)
            return (
                f'<polyline points="{points}" fill="none" stroke="{part.colour}" '
                f'stroke-width="{part.width:g}" stroke-linejoin="round"/>'
            )
        case Dot():
            return (
                f'<circle cx="{part.x:.2f}" cy="{part.y:.2f}" r="{part.radius:g}" '
                f'fill="{part.colour}"/>'
            )
        case Label():
            turn = f' transform="rotate(-90 {part.x:.2f} {part.y:.2f})"' if part.upwards else ""
            return (
                f'<text x="{part.x:.2f}" y="{part.y:.2f}" font-size="{part.size:g}" '
                f'fill="{part.colour}" text-anchor="{part.anchor}" dominant-baseline="central"{turn}>'
                f"{escape(part.text)}</text>"
            )


def _draw(image: Image.Image, part: Stroke | Dot | Label) -> None:
    pen = ImageDraw.Draw(image)
    match part:
        case Stroke():
            points = [(x * FINER, y * FINER) for x, y in part.points]
            pen.line(points, part.colour, round(part.width * FINER), "curve")
        case Dot():
            x, y, r = part.x * FINER, part.y * FINER, part.radius * FINER
            pen.ellipse((x - r, y - r, x + r, y + r), fill=part.colour)
        case Label():
            _write(image, part)


_ANCHORS = {"start": "lm", "middle": "mm", "end": "rm"}


def _write(image: Image.Image, part: Label) -> None:
    font = ImageFont.load_default(part.size * FINER)
    x, y = part.x * FINER, part.y * FINER
    if not part.upwards:
        at = (x, y)
        ImageDraw.Draw(image).text(at, part.text, part.colour, font, anchor=_ANCHORS[part.anchor])
        return
    width, height = round(font.getlength(part.text)), round(2 * part.size * FINER)
    strip = Image.new("L", (width, height), 0)
    ImageDraw.Draw(strip).text((0, height / 2), part.text, 255, font, anchor="lm")
    turned = strip.rotate(90, expand=True)
    shift = {"start": turned.height, "middle": turned.height / 2, "end": 0}[part.anchor]
    colour = Image.new("RGB", turned.size, part.colour)
    image.paste(colour, (round(x - turned.width / 2), round(y - shift)), turned)
