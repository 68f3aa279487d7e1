"""How what a long run takes grows with its units: a line through what was measured, drawn to ten million.

python -m benchmarks.on_cluster.growth        from `benchmarks/results/cluster.json`; no run is made

Each part is a fixed time and a time for each unit, through the smallest and the largest run; the run
between tells whether that holds (`worst_between`: how far the line is from it, as a share of it).
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from trainer.evaluation.drawing import Dot, Drawing, Label, Stroke  # noqa: E402
from trainer.evaluation.plot import COLOURS, GREY, GRID, INK  # noqa: E402

FAR = 10_000_000
"""Units; ours are four triplets each."""
PARTS = {
    "list": "reading the list",
    "plan": "planning",
    "workers": "from the plan to the first unit",
    "seal": "sealing",
    "verify": "verify",
    "resume_99": "resumed at 99 %, to the first unit",
    "resume_50": "resumed at 50 %, to the first unit",
    "driver": "driver's CPU, all units",
}
"""Seconds of each run; `memory`, in MiB, beside them."""
WIDTH, HEIGHT = 900, 540
LEFT, RIGHT, TOP, BOTTOM = 78, 600, 64, 470
LOW_S, HIGH_S = 0.01, 1e6
FEW, MANY = 500, 2e7
"""The ends of both axes; both are of powers of ten."""


@dataclass(frozen=True)
class Line:
    """`fixed` + `each` × units."""

    fixed: float
    each: float
    worst_between: float

    def at(self, units: float) -> float:
        return self.fixed + self.each * units


def parts_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """The parts of one size of `cluster.json`, in seconds; `memory` in MiB."""
    whole = figures["whole"]
    return {
        "list": whole["list_s"],
        "plan": whole["plan_s"],
        "workers": whole["begin_s"] - whole["list_s"] - whole["plan_s"],
        "seal": whole["seal_s"],
        "verify": figures["verify_s"],
        "resume_99": figures["resume_at_99_s"],
        "resume_50": figures["resume_at_50_s"],
        "driver": whole["driver_ms_per_unit"] * whole["units"] / 1000,
        "memory": max(whole["driver_rss_mib"], figures["verify_rss_mib"]),
    }


def line(points: Sequence[tuple[int, float]]) -> Line:
    """Through the first and the last of at least two points, in the order of their units."""
    (few, low), (many, high) = points[0], points[-1]
    each = max(0.0, (high - low) / (many - few))
    found = Line(max(0.0, low - each * few), each, 0.0)
    off = [abs(found.at(units) / value - 1) for units, value in points[1:-1] if value]
    return Line(found.fixed, found.each, max(off, default=0.0))


def grown(figures: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """The points of each part, smallest run first."""
    sizes = sorted(
        (one["whole"]["units"], one) for name, one in figures.items() if name.endswith("_captions")
    )
    found: dict[str, list[tuple[int, float]]] = {}
    for units, one in sizes:
        for name, value in parts_of(one).items():
            found.setdefault(name, []).append((units, value))
    return found


def model(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Of each part its line, and where the line is at ten million units."""
    return {
        name: {
            "fixed": round(fitted.fixed, 3),
            "ms_per_unit" if name != "memory" else "kib_per_unit": round(
                fitted.each * (1000 if name != "memory" else 1024), 4
            ),
            "worst_between": round(fitted.worst_between, 3),
            "at_10_million": round(fitted.at(FAR), 1),
        }
        for name, points in grown(figures).items()
        if (fitted := line(points))
    }


def across(units: float) -> float:
    share = (math.log10(units) - math.log10(FEW)) / (math.log10(MANY) - math.log10(FEW))
    return LEFT + share * (RIGHT - LEFT)


def up(seconds: float) -> float:
    share = math.log10(max(seconds, LOW_S) / LOW_S) / math.log10(HIGH_S / LOW_S)
    return BOTTOM - share * (BOTTOM - TOP)


def drawn(figures: Mapping[str, Any]) -> Drawing:
    """Seconds of each part over units, both by powers of ten: dots were measured, lines are the model."""
    parts: list[Stroke | Dot | Label] = [
        Label(LEFT, 22, "What a long run takes beside its models", 17),
        Label(LEFT, 44, "dots: measured, two cores, a folder; lines: fixed + each unit", 12, GREY),
    ]
    for power in range(3, 8):
        at = across(10**power)
        parts += [Stroke([(at, TOP), (at, BOTTOM)], GRID)]
        parts += [Label(at, BOTTOM + 15, f"{10**power:,}", 12, GREY, "middle")]
    for power in range(-2, 7):
        at = up(10**power)
        words = f"{10**power:,}" if power >= 0 else f"{10**power:g}"
        parts += [Stroke([(LEFT, at), (RIGHT, at)], GRID)]
        parts += [Label(LEFT - 8, at, words, 12, GREY, "end")]
    parts += [
        Stroke([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], INK),
        Label((LEFT + RIGHT) / 2, BOTTOM + 42, "units of four triplets", 13, INK, "middle"),
        Label(18, (TOP + BOTTOM) / 2, "seconds", 13, INK, "middle", upwards=True),
    ]
    ends: list[tuple[float, str, str]] = []
    grown_parts = grown(figures)
    for (name, words), colour in zip(PARTS.items(), COLOURS, strict=True):
        points = grown_parts[name]
        fitted = line(points)
        steps = [10 ** (3 + step / 10) for step in range(41)]
        parts.append(Stroke([(across(x), up(fitted.at(x))) for x in steps], colour, 1.5))
        parts += [Dot(across(x), up(y), 4, colour) for x, y in points]
        ends.append((up(fitted.at(FAR)), words, colour))
    last = TOP - 20.0
    for height, words, colour in sorted(ends):
        last = max(height, last + 18)
        parts.append(Stroke([(across(FAR) + 6, height), (RIGHT + 12, last)], colour))
        parts.append(Label(RIGHT + 16, last, words, 12, colour))
    return Drawing(WIDTH, HEIGHT, parts)


def recorded() -> dict[str, Any]:
    """The figures that stand in `cluster.json`."""
    file = ROOT / "benchmarks" / "results" / "cluster.json"
    figures: dict[str, Any] = json.loads(file.read_text())["figures"]
    return figures


def main() -> None:
    figures = recorded()
    print(json.dumps(model(figures), indent=1))
    picture = drawn(figures)
    (ROOT / "docs" / "cluster").mkdir(exist_ok=True)
    for kind, made in (("png", picture.png()), ("svg", picture.svg())):
        (ROOT / "docs" / "cluster" / f"growth.{kind}").write_bytes(made)


if __name__ == "__main__":
    main()
