"""The curve's plot: where a figure is drawn, and that both formats hold the same."""

import io
import xml.etree.ElementTree as ET

from PIL import Image

from trainer.evaluation.drawing import Dot, Drawing, Label, Stroke
from trainer.evaluation.plot import BOTTOM, LEFT, RIGHT, TOP, Curve, _step, plot
from trainer.evaluation.points import NOTHING, Estimate


def at(x, y, half=0.01):
    return Estimate(x, x - half, x + half), Estimate(y, y - half, y + half)


OURS = Curve("ours", [at(0.12, 0.92), at(0.2, 0.85)], "image guidance", ("1", "2.2"))
THEIRS = Curve("<theirs> & co", [at(0.1, 0.9)], "at its own settings")
SVG = "{http://www.w3.org/2000/svg}"


def test_points_lie_on_the_plane_in_their_order():
    drawing = plot([OURS, THEIRS], "12 pictures")
    dots = [part for part in drawing.parts if isinstance(part, Dot) and part.x < RIGHT]
    assert len(dots) == 2 + 1 + 1  # the first of a curve is drawn twice, hollow
    first, second = dots[0], dots[1]
    assert LEFT < first.x < second.x < RIGHT
    # More image similarity is higher up.
    assert TOP < first.y < second.y < BOTTOM


def test_every_point_has_bars_in_both_directions():
    bars = [p for p in plot([OURS], "").parts if isinstance(p, Stroke) and p.width == 0.7]
    assert len(bars) == 4


def test_strangers_words_are_text_in_the_svg():
    root = ET.fromstring(plot([OURS, THEIRS], "a < b").svg())
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert "<theirs> & co" in texts
    assert "a < b" in texts


def test_a_curve_without_a_figure_is_left_out():
    empty = Curve("none", [(NOTHING, NOTHING)], "")
    assert plot([empty, OURS], "").svg() == plot([OURS], "").svg()
    assert b"</svg>" in plot([empty], "").svg()


def test_no_two_entries_of_the_legend_overlap():
    curves = [Curve(f"editor {n}", OURS.points, "strength", ("0.3", "0.9")) for n in range(9)]
    drawing = plot(curves, "")
    rows = sorted(p.y for p in drawing.parts if isinstance(p, Label) and p.x > RIGHT + 25)
    assert min(b - a for a, b in zip(rows, rows[1:], strict=False)) >= 14
    assert rows[-1] < drawing.height


def test_a_png_shows_the_same_places():
    drawing = Drawing(
        40, 20, [Dot(10, 10, 4, "#ff0000"), Stroke([(20, 10), (39, 10)], "#0000ff", 3)]
    )
    image = Image.open(io.BytesIO(drawing.png())).convert("RGB")
    assert image.size == (80, 40)
    assert image.getpixel((20, 20)) == (255, 0, 0)
    assert image.getpixel((60, 20)) == (0, 0, 255)
    assert image.getpixel((20, 2)) == (255, 255, 255)
    assert drawing.png() == drawing.png()


def test_steps_of_an_axis_are_round():
    assert [_step(rough) for rough in (0.012, 0.02, 0.021, 0.07, 3)] == [0.02, 0.02, 0.05, 0.1, 5]
