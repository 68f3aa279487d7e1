"""The program behind `editmill calibrate`: sample, let the oracle judge, choose the gates, write them."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from factory.console.progress import Progress
from factory.errors import ConfigError, EditmillError
from factory.miniature import world
from factory.miniature.calibration import Judged, choose, figures, score_ranges, table
from factory.miniature.oracle import ORACLE_VERSION, judge
from factory.pairs.source import Draw, Made, PairSource, draws
from factory.pairs.triplets import read_triplets
from schemas.recipe import Recipe
from schemas.triplet import Triplet

SEEDS = (101, 202)
"""Of the triplets that gates are chosen on, and of those that they are reported on."""
GOAL = 0.96
"""Share of accepted pairs that must be true where gates are chosen; the bar on the others is 0.95."""


def triplet_sets(count: int) -> tuple[list[Triplet], list[Triplet]]:
    """Two lists of `count` triplets, edit kinds in turn, none in both and none in the bundled list."""
    seen = {_words(triplet) for triplet in read_triplets("miniature").triplets}
    sets: list[list[Triplet]] = []
    for seed in SEEDS:
        drawn = map(_triplet, world.triplets(2 * count + len(seen), seed))
        chosen = list(islice((t for t in drawn if _words(t) not in seen), count))
        seen |= {_words(triplet) for triplet in chosen}
        sets.append(chosen)
    return sets[0], sets[1]


def _words(triplet: Triplet) -> tuple[str, str]:
    return triplet.original_prompt, triplet.edited_prompt


def _triplet(line: dict[str, str]) -> Triplet:
    return Triplet(
        original_prompt=line["input"],
        edit_prompt=line["edit"],
        edited_prompt=line["output"],
        edit_kind=line["edit_kind"],
    )


def judge_all(source: PairSource, recipe: Recipe, triplets: Sequence[Triplet]) -> list[Judged]:
    """Every candidate of the triplets with its scores and the oracle's judgement."""
    return judge_draws(source, [draw for t in triplets for draw in draws(recipe, t)])


def judge_draws(source: PairSource, wanted: Sequence[Draw]) -> list[Judged]:
    """Each draw made, scored and judged, in no order.

    Raises `EditmillError` where a candidate could not be made: then the weights are broken.
    """
    judged: list[Judged] = []
    with Progress("candidates", len(wanted)) as progress:
        for outcome in source.pairs(wanted):
            triplet = outcome.draw.triplet
            if not isinstance(outcome, Made):
                raise EditmillError(f"calibrate: {triplet.original_prompt!r}: {outcome.reason}")
            words = (triplet.original_prompt, triplet.edited_prompt)
            judgement = judge(outcome.original, outcome.edited, *words)
            judged.append(Judged(outcome.draw, outcome.scores, judgement))
            progress.advance(true=sum(one.judgement.true for one in judged))
    return judged


def calibrate(source: PairSource, recipe: Recipe, count: int) -> dict[str, Any]:
    """Choose gates on `count` triplets and report them on `count` others; the file's content."""
    if recipe.size_px != world.SIDE_PX:
        raise ConfigError(
            f"recipe.size_px: the oracle reads {world.SIDE_PX} px pictures of the miniature's world, "
            f"got {recipe.size_px}"
        )
    chosen_on, reported_on = (judge_all(source, recipe, part) for part in triplet_sets(count))
    most = recipe.keep.most
    thresholds, reached = choose(chosen_on, most, GOAL, recipe.thresholds.borderline)
    return {
        "reached": reached,
        "thresholds": thresholds.model_dump(),
        "report": figures(reported_on, thresholds, most),
        "report_by_gate": table(reported_on, thresholds, most),
        "calibration": figures(chosen_on, thresholds, most),
        "score_ranges": score_ranges(chosen_on + reported_on),
        "sampler": {
            name: getattr(recipe, name)
            for name in ("solver", "steps", "p", "guidance", "candidates", "dtype")
        },
        "triplets": {"seeds": SEEDS, "count": count, "goal": GOAL},
        "oracle_version": ORACLE_VERSION,
        "files": recipe.text_to_image.files | recipe.clip.files,
    }


def write_calibration(path: Path, calibration: dict[str, Any]) -> None:
    """As JSON. Raises `ConfigError` where it cannot be written."""
    try:
        path.write_text(json.dumps(calibration, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from None
