"""Choose the gates of the miniature by its oracle on one set of triplets, report on another."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from factory.console.progress import Progress
from factory.errors import ConfigError, EditmillError
from factory.miniature import world
from factory.miniature.oracle import ORACLE_VERSION, Judgement, judge
from factory.miniature.wilson import wilson
from factory.pairs.selection import failed_gates, rank
from factory.pairs.source import Draw, Made, PairSource, draws
from factory.pairs.triplets import read_triplets
from schemas.candidate import Scores
from schemas.recipe import Recipe, Thresholds
from schemas.triplet import Triplet

SEEDS = (101, 202)
"""Of the triplets that gates are chosen on, and of those that they are reported on."""
GOAL = 0.96
"""Share of accepted pairs that must be true where gates are chosen; the bar on the others is 0.95."""
PASSING = (0.05, 0.60)
"""Share of candidates that may pass the gates."""
KINDS = 4
"""At least so many edit kinds must each make up `KIND_SHARE` of what is accepted."""
KIND_SHARE = 0.10
GRID = 16
"""Values tried for each gate, at even quantiles of its scores."""


class NotCalibrated(EditmillError):
    """No thresholds balance the edit kinds."""

    exit_code = 4


@dataclass(frozen=True)
class Judged:
    """A candidate with its scores and what the oracle says of it."""

    draw: Draw
    scores: Scores
    judgement: Judgement

    @property
    def kind(self) -> str:
        return self.draw.triplet.edit_kind or "none"


def accepted(judged: Iterable[Judged], thresholds: Thresholds, most: int) -> list[Judged]:
    """What a run with these gates would keep: of each triplet's passing candidates the best few."""
    passing: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if not failed_gates(one.scores, thresholds):
            passing[one.draw.triplet.triplet_id].append(one)
    return [
        one for rivals in passing.values() for one in sorted(rivals, key=rank, reverse=True)[:most]
    ]


def figures(judged: Sequence[Judged], thresholds: Thresholds, most: int) -> dict[str, Any]:
    """Shares passed, accepted and true, with the true share's 95 % interval, and each kind's part."""
    kept = accepted(judged, thresholds, most)
    passing = sum(not failed_gates(one.scores, thresholds) for one in judged)
    true = sum(one.judgement.true for one in kept)
    share = true / len(kept) if kept else 0.0
    return {
        "candidates": len(judged),
        "true_before_gates": round(sum(j.judgement.true for j in judged) / len(judged), 4),
        "passing": round(passing / len(judged), 4),
        "accepted": len(kept),
        "accepted_true": round(share, 4),
        "accepted_true_95": [round(bound, 4) for bound in wilson(share, len(kept))],
        "part_of_accepted": {
            kind: round(count / len(kept), 4)
            for kind, count in sorted(Counter(one.kind for one in kept).items())
        },
    }


def balanced(found: dict[str, Any]) -> bool:
    """Whether neither too few nor too many pass, and enough edit kinds are among the accepted."""
    parts = found["part_of_accepted"].values()
    return (
        PASSING[0] <= found["passing"] <= PASSING[1]
        and sum(part >= KIND_SHARE for part in parts) >= KINDS
    )


def choose(
    judged: Sequence[Judged], most: int, goal: float, borderline: float
) -> tuple[Thresholds, bool]:
    """The gates that accept most among those where at least `goal` of the accepted are true.

    Where none reach it: those with the highest true share, and False. Raises `NotCalibrated` where no
    gates at all let enough edit kinds through.
    """
    tried = [
        (found["accepted"], found["accepted_true"], thresholds)
        for thresholds in _grid(judged, borderline)
        if balanced(found := figures(judged, thresholds, most))
    ]
    if not tried:
        raise NotCalibrated(
            f"calibration: {PASSING[0]:.0%} to {PASSING[1]:.0%} of candidates must pass and {KINDS} "
            f"edit kinds make up {KIND_SHARE:.0%} each of what is accepted, got no such gates"
        )
    good = [one for one in tried if one[1] >= goal]
    if good:
        return max(good, key=lambda one: one[:2])[2], True
    return max(tried, key=lambda one: (one[1], one[0]))[2], False


def _grid(judged: Sequence[Judged], borderline: float) -> Iterable[Thresholds]:
    texts = _steps([min(j.scores.clip_sim_0, j.scores.clip_sim_1) for j in judged])
    directions = _steps([j.scores.clip_sim_dir for j in judged])
    images = _steps([j.scores.clip_sim_image for j in judged])
    for text, direction, image in product(texts, directions, images):
        yield Thresholds(image=image, text=text, direction=direction, borderline=borderline)


def _steps(scores: Sequence[float]) -> list[float]:
    """The least score and higher ones, rounded down to three digits."""
    ordered = sorted(scores)
    return sorted({int(ordered[i * len(ordered) // GRID] * 1000) / 1000 for i in range(GRID)})


def score_ranges(judged: Sequence[Judged]) -> dict[str, list[float]]:
    """The 5th and 95th percentile of each similarity, over all candidates."""
    ranges = {}
    for name in Scores.model_fields:
        ordered = sorted(getattr(one.scores, name) for one in judged)
        ranges[name] = [
            round(ordered[int(share * (len(ordered) - 1))], 4) for share in (0.05, 0.95)
        ]
    return ranges


def table(judged: Sequence[Judged], chosen: Thresholds, most: int) -> list[dict[str, Any]]:
    """What each gate alone, none, and all do: a small table for a person."""
    off = Thresholds(image=-1, text=-1, direction=-1)
    rows = {
        "no gate": off,
        "text": off.model_copy(update={"text": chosen.text}),
        "direction": off.model_copy(update={"direction": chosen.direction}),
        "image": off.model_copy(update={"image": chosen.image}),
        "all": chosen,
    }
    return [{"gates": name} | figures(judged, gates, most) for name, gates in rows.items()]


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
