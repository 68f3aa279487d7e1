"""Whether the four similarities are what this CLIP usually gives, and what the gates make of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from factory.doctor.batch import Batch
from factory.doctor.finding import Check, ok, warning
from factory.model_files import model_folder
from factory.selection import failed_gates, gates
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


@dataclass(frozen=True)
class Usual:
    """What a CLIP usually gives."""

    where_from: str
    ranges: Ranges


def usual(clip: ModelSource) -> Usual | None:
    """By a calibration beside the model, or by open_clip architecture; None for any other."""
    folder = model_folder(clip, "clip")
    calibration = folder.parent / CALIBRATION
    if calibration.is_file():
        ranges = json.loads(calibration.read_bytes())["score_ranges"]
        return Usual("its calibration", {name: tuple(ranges[name]) for name in Scores.model_fields})
    if clip.name == "ViT-L-14-quickgelu" or (clip.name is None and _is_l14(folder)):
        return Usual("OpenAI's ViT-L/14", VIT_L_14_QUICKGELU)
    return None


def _is_l14(folder: Path) -> bool:
    config: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_bytes())
    model = config.get("model_cfg", {})
    tower = model.get("vision_cfg", {})
    return bool(model.get("quick_gelu")) and all(tower.get(k) == v for k, v in _SHAPE.items())


def scores(batch: Batch, recipe: Recipe) -> Check[None]:
    """Each similarity's range beside the usual one and its gate, then all gates together."""
    known = usual(recipe.clip)
    for name, least in gates(recipe.thresholds).items():
        yield from _similarity(name, [getattr(o.scores, name) for o in batch.made], least, known)
    passing = sum(not failed_gates(one.scores, recipe.thresholds) for one in batch.made)
    said = f"{passing} of {len(batch.made)} candidates pass all of them"
    can_reject = any(least > 0 for least in gates(recipe.thresholds).values())
    if passing == 0:
        remedy = (
            "look at more: `generate --limit 20`, then `status` and `sheet`; then recipe.thresholds"
        )
        yield warning("gates", said, remedy, passing=passing)
    elif passing == len(batch.made) and can_reject:
        remedy = "nothing is filtered: compare recipe.thresholds with the ranges above"
        yield warning("gates", said, remedy, passing=passing)
    else:
        yield ok("gates", said, passing=passing)


def _similarity(name: str, values: list[float], least: float, known: Usual | None) -> Check[None]:
    low, middle, high = min(values), median(values), max(values)
    passing = sum(value >= least for value in values)
    figures = {"range": [low, high], "median": middle, "gate": least, "passing": passing}
    said = f"{low:.3f} to {high:.3f} (middle {middle:.3f})"
    strange = False
    if known:
        expected = known.ranges[name]
        figures["usual"] = list(expected)
        said += f"; usual {expected[0]:.2f} to {expected[1]:.2f} by {known.where_from}"
        strange = not expected[0] <= middle <= expected[1]
    else:
        said += "; no usual range is known for this CLIP"
    said += f"; {passing} of {len(values)} reach the gate {least:g}"
    if strange:
        remedy = (
            "pre-processing or weights differ, and thresholds would not mean what they say: compare "
            "recipe.clip (OpenAI's weights need quickgelu) and look at the pictures"
        )
        yield warning(name, said, remedy, **figures)
    elif passing == 0:
        remedy = "no candidate of the run may pass: lower the threshold, or look at the pictures"
        yield warning(name, said, remedy, **figures)
    else:
        yield ok(name, said, **figures)
