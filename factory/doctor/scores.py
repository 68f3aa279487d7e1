"""Whether the four similarities are what this CLIP usually gives, and what the gates make of them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from factory.doctor.finding import Check, Finding, Level, ok, warning
from factory.doctor.measured_batch import MeasuredBatch
from factory.miniature.world import parse_caption
from factory.models.find import model_folder
from factory.pairs.selection import failed_gates, gates
from schemas.candidate import Scores
from schemas.recipe import ModelSource, Recipe

CALIBRATION = "calibration.json"
"""Beside a CLIP's folder: `score_ranges`, the 5th and 95th percentiles of its similarities."""

Ranges = dict[str, tuple[float, float]]

VIT_L_14_QUICKGELU: Ranges = {
    "clip_sim_0": (0.18, 0.35),
    "clip_sim_1": (0.16, 0.35),
    "clip_sim_dir": (-0.1, 0.5),
    "clip_sim_image": (0.5, 0.99),
}
"""Of OpenAI's weights; wide, because they stand for every caption and guidance.

The released InstructPix2Pix gates (text 0.2, direction 0.2, image 0.7) lie inside and leave at least
one of 100 candidates to 69 % of its captions; matching captions of these CLIPs score about 0.25
(github.com/openai/CLIP/issues/405), not near 1. A picture of noise, or colours normalised by other
numbers, moves the middle of a batch out of them.
"""

_SHAPE = {"layers": 24, "width": 1024, "patch_size": 14, "image_size": 224}


FEW = 4
"""Fewer candidates tell nothing of gates of which nothing is known."""
RARE = 0.01
"""Chance below which what a batch shows is not put down to it."""
NONE_PASSING = 0.05
"""The same of a batch of which none passes, where it is known how many usually do: looking at more costs
little, and a whole run without a pair much.
"""
DIFFERING = (
    "pre-processing or weights differ, and thresholds would not mean what they say: compare "
    "recipe.clip (OpenAI's weights need quickgelu) and look at the pictures"
)
FOREIGN = (
    "the miniature knows the captions of its own world alone: give --triplets miniature, or "
    "--preset paper for captions of your own"
)
OUTSIDE = 0.05
"""Share of candidates on either side of a usual range."""


@dataclass(frozen=True)
class Usual:
    """What a CLIP usually gives."""

    where_from: str
    ranges: Ranges
    passing: float | None = None
    """Share of candidates that pass all gates, where that was measured."""


def usual(clip: ModelSource) -> Usual | None:
    """By a calibration beside the model, or by open_clip architecture; None for any other."""
    folder = model_folder(clip, "clip")
    calibration = folder.parent / CALIBRATION
    if calibration.is_file():
        read = json.loads(calibration.read_bytes())
        ranges = {name: tuple(read["score_ranges"][name]) for name in Scores.model_fields}
        return Usual("its calibration", ranges, read.get("report", {}).get("passing"))
    if clip.name == "ViT-L-14-quickgelu" or (clip.name is None and _is_l14(folder)):
        return Usual("OpenAI's ViT-L/14", VIT_L_14_QUICKGELU)
    return None


def _is_l14(folder: Path) -> bool:
    config: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_bytes())
    model = config.get("model_cfg", {})
    tower = model.get("vision_cfg", {})
    return bool(model.get("quick_gelu")) and all(tower.get(k) == v for k, v in _SHAPE.items())


def scores(batch: MeasuredBatch, recipe: Recipe) -> Check[None]:
    """Each similarity's range beside the usual one and its gate, then all gates together.

    A few candidates say little: what chance alone would often give is no warning. Where it is not known
    how many usually pass, `FEW` are enough to warn of gates that none of them passes.
    """
    known, made = usual(recipe.clip), batch.made
    counted = _Counted(len(made), len({one.draw.triplet.triplet_id for one in made}))
    unreached, foreign = False, _is_foreign(batch, recipe)
    for name, least in gates(recipe.thresholds).items():
        values = [getattr(o.scores, name) for o in made]
        finding = _similarity(name, values, least, known, counted, foreign)
        unreached |= finding.level == Level.WARNING and finding.figures["passing"] == 0
        yield finding
    passing = sum(not failed_gates(one.scores, recipe.thresholds) for one in made)
    words = f"{passing} of {len(made)} candidates pass all of them"
    usually = known.passing if known else None
    if usually is not None:
        words += f"; usual {usually:.0%}"
    can_reject = any(least > 0 for least in gates(recipe.thresholds).values())
    none_by_chance = usually is not None and counted.chance(1 - usually, len(made)) > NONE_PASSING
    if passing == 0 and none_by_chance and not unreached:
        yield ok("gates", f"{words}, so that in so few it may be chance", passing=passing)
    elif passing == 0 and (unreached or len(made) >= FEW):
        remedy = (
            "may be chance in so few; look at more: `generate --limit 20`, then `status` and `sheet`; "
            "then recipe.thresholds"
        )
        yield warning("gates", words, remedy, passing=passing)
    elif (
        passing == len(made)
        and can_reject
        and (len(made) >= FEW if usually is None else counted.chance(usually, len(made)) < RARE)
    ):
        remedy = "nothing is filtered: compare recipe.thresholds with the ranges above"
        yield warning("gates", words, remedy, passing=passing)
    else:
        yield ok("gates", words, passing=passing)


@dataclass(frozen=True)
class _Counted:
    """How many candidates, and as how many they count: those of one triplet are much alike."""

    candidates: int
    triplets: int

    def chance(self, share: float, least: int) -> float:
        """Of at least so many of these candidates, where each has the share."""
        n = min(self.candidates, 2 * self.triplets)
        k = math.ceil(least * n / self.candidates)
        return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k, n + 1))


def _is_foreign(batch: MeasuredBatch, recipe: Recipe) -> bool:
    """Whether the miniature is asked for what is not of its world."""
    if recipe.text_to_image.source != "miniature":
        return False
    try:
        for one in batch.made:
            parse_caption(one.draw.triplet.original_prompt)
    except ValueError:
        return True
    return False


def _similarity(
    name: str,
    values: list[float],
    least: float,
    known: Usual | None,
    counted: _Counted,
    foreign: bool,
) -> Finding:
    low, middle, high = min(values), median(values), max(values)
    passing = sum(value >= least for value in values)
    figures = {"range": [low, high], "median": middle, "gate": least, "passing": passing}
    words = f"{low:.3f} to {high:.3f} (middle {middle:.3f})"
    strange, hopeless = False, len(values) >= FEW
    if known:
        expected = known.ranges[name]
        figures["usual"] = list(expected)
        words += f"; usual {expected[0]:.2f} to {expected[1]:.2f} by {known.where_from}"
        outside = max(
            sum(value < expected[0] for value in values),
            sum(value > expected[1] for value in values),
        )
        is_middle_outside = not expected[0] <= middle <= expected[1]
        strange = is_middle_outside and counted.chance(OUTSIDE, outside) < RARE
        # Of what is usual some reach a gate within the range, but in a small batch perhaps none.
        hopeless = least > expected[1] or counted.chance(1 - OUTSIDE, len(values)) < RARE
    else:
        words += "; no usual range is known for this CLIP"
    words += f"; {passing} of {len(values)} reach the gate {least:g}"
    if strange:
        return warning(name, words, FOREIGN if foreign else DIFFERING, **figures)
    if passing == 0 and hopeless:
        remedy = "no candidate of the run may pass: lower the threshold, or look at the pictures"
        return warning(name, words, remedy, **figures)
    return ok(name, words, **figures)
