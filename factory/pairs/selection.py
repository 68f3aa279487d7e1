"""Which candidates become pairs: the gates, then the best few of each triplet. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from factory.pairs.source import Draw, Made, NotMade
from factory.pictures import encode
from schemas.arrow import Image
from schemas.candidate import Candidate, Scores, Verdict
from schemas.pair import Pair
from schemas.recipe import Recipe, Thresholds
from schemas.triplet import Triplet


def gates(thresholds: Thresholds) -> dict[str, float]:
    """Each similarity and the least value that passes, inclusive, as the original's filter."""
    return {
        "clip_sim_0": thresholds.text,
        "clip_sim_1": thresholds.text,
        "clip_sim_dir": thresholds.direction,
        "clip_sim_image": thresholds.image,
    }


def failed_gates(scores: Scores, thresholds: Thresholds) -> list[str]:
    """The similarities below their threshold."""
    return _below(scores, gates(thresholds))


def _below(scores: Scores, limits: Mapping[str, float]) -> list[str]:
    return [name for name, least in limits.items() if getattr(scores, name) < least]


def _is_near(scores: Scores, limits: Mapping[str, float], margin: float) -> bool:
    """Whether another device could have judged otherwise: a score within the margin of its gate."""
    return margin > 0 and any(
        abs(getattr(scores, name) - least) <= margin for name, least in limits.items()
    )


_NO_SCORES = dict.fromkeys(Scores.model_fields)


class ScoredCandidate(Protocol):
    """A candidate with scores, with or without its pictures."""

    @property
    def draw(self) -> Draw: ...

    @property
    def scores(self) -> Scores: ...


def rank(scored: ScoredCandidate) -> tuple[float, int]:
    """Order among the passing candidates of a triplet: direction, then seed; higher is better."""
    return (scored.scores.clip_sim_dir, scored.draw.seed)


@dataclass(frozen=True)
class Selection:
    """Gathers the outcomes of a unit; holds the pictures of the present best only."""

    recipe: Recipe
    _outcomes: list[tuple[Made | NotMade, list[str]]] = field(default_factory=list)
    _best: dict[str, list[Made]] = field(default_factory=dict)

    @cached_property
    def _limits(self) -> Mapping[str, float]:
        return gates(self.recipe.thresholds)

    def add(self, outcome: Made | NotMade) -> None:
        """Judge one outcome by the gates and, if it passes, by its rivals so far."""
        if isinstance(outcome, NotMade):
            self._outcomes.append((outcome, []))
            return
        failed = _below(outcome.scores, self._limits)
        if not failed:
            best = self._best.setdefault(outcome.draw.triplet.triplet_id, [])
            best.append(outcome)
            best.sort(key=rank, reverse=True)
            del best[self.recipe.keep.most :]
        empty = outcome.original[:0]
        bare = Made(outcome.draw, empty, empty, outcome.scores, outcome.truncated)
        self._outcomes.append((bare, failed))

    def result(self, order: Iterable[Triplet]) -> tuple[list[Candidate], list[Pair]]:
        """Every candidate's row and the pairs, both in triplet order, then by index."""
        rows, winners = self.judged(order)
        return rows, [self.pair(made) for made in winners]

    def judged(self, order: Iterable[Triplet]) -> tuple[list[Candidate], list[Made]]:
        """Every candidate's row and those that become pairs, both in triplet order, then by index."""
        place = {triplet.triplet_id: i for i, triplet in enumerate(order)}

        def key(outcome: Made | NotMade) -> tuple[int, int]:
            return (place[outcome.draw.triplet.triplet_id], outcome.draw.index)

        winners = sorted((made for best in self._best.values() for made in best), key=key)
        kept = {key(made) for made in winners}
        ordered = sorted(self._outcomes, key=lambda judged: key(judged[0]))
        rows = [self._row(outcome, failed, key(outcome) in kept) for outcome, failed in ordered]
        return rows, winners

    def _row(self, outcome: Made | NotMade, failed: list[str], is_kept: bool) -> Candidate:
        draw = outcome.draw
        verdict, reason, borderline = Verdict.REJECTED, ",".join(failed) or "keep", False
        scores: Mapping[str, float | None] = _NO_SCORES
        if isinstance(outcome, NotMade):
            verdict, reason = Verdict.FAILED, outcome.reason
        else:
            scores = outcome.scores.model_dump()
            margin = self.recipe.thresholds.borderline
            borderline = _is_near(outcome.scores, self._limits, margin)
        if is_kept:
            verdict, reason = Verdict.ACCEPTED, ""
        return Candidate(
            triplet_id=draw.triplet.triplet_id,
            index=draw.index,
            seed=draw.seed,
            p2p_threshold=draw.p,
            cfg_scale=draw.guidance,
            verdict=verdict,
            reason=reason or None,
            borderline=borderline,
            truncated=outcome.truncated,
            **scores,
        )

    def pair(self, made: Made) -> Pair:
        """What is stored of a candidate that is kept."""
        draw, triplet, codec = made.draw, made.draw.triplet, self.recipe.codec
        name = f"{triplet.triplet_id}-{draw.index}"
        ending = "png" if codec.format == "png" else "jpg"
        return Pair(
            original_prompt=triplet.original_prompt,
            original_image=Image(bytes=encode(made.original, codec), path=f"{name}_0.{ending}"),
            edit_prompt=triplet.edit_prompt,
            edited_prompt=triplet.edited_prompt,
            edited_image=Image(bytes=encode(made.edited, codec), path=f"{name}_1.{ending}"),
            edit_kind=triplet.edit_kind,
            triplet_id=triplet.triplet_id,
            index=draw.index,
            seed=draw.seed,
            p2p_threshold=draw.p,
            cfg_scale=draw.guidance,
            **made.scores.model_dump(),
        )
