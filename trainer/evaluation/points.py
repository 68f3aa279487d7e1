"""What was measured at each setting of each editor: means, shares and how sure they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.miniature.wilson import wilson
from factory.seeds import generator
from schemas.edits import KNOBS
from schemas.evaluation import SCORES, WORDS, EvaluationRecipe
from schemas.recipe import Thresholds

Numbers = NDArray[np.float64]
DIGITS = 5
"""Of a figure: well above what the order of a sum may change."""
RESAMPLES = 2000
MOST_RESAMPLED = 10_000
"""Of more pictures an interval is the normal one, which is the same then."""
PASSES = "passes"


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; null where nothing was measured, or too little to tell."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, bounds: tuple[float, float] | None) -> "Estimate":
        low, high = bounds or (None, None)
        return cls(*(None if v is None else round(float(v), DIGITS) for v in (value, low, high)))


NOTHING = Estimate(None, None, None)


@dataclass
class Point:
    """The edits of one editor at one setting."""

    entrant: str
    setting: dict[str, float | None]
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Each with the numbers of its picture and attempt, scores, words and whether it passes."""
    failed: int = 0

    def by_picture(self, measure: str) -> tuple[list[int], Numbers]:
        """The pictures that have it, in order, and the mean of its attempts on each."""
        held: dict[int, list[float]] = {}
        for row in self.rows:
            if row[measure] is not None:
                held.setdefault(row["number"], []).append(float(row[measure]))
        numbers = sorted(held)
        return numbers, np.array([sum(held[n]) / len(held[n]) for n in numbers])

    def mean(self, score: str) -> Estimate:
        """Over pictures, each the mean of its attempts; a bootstrap over pictures."""
        values = self.by_picture(score)[1]
        return Estimate.of(float(values.mean()), mean_95(values)) if len(values) else NOTHING

    def share(self, word: str) -> Estimate:
        """Over pictures likewise; Wilson's interval for as many trials as there are pictures."""
        return share_of(self.by_picture(word)[1])

    def within(self, word: str, attempts: int) -> list[Estimate]:
        """For each number of attempts, the share of pictures of which one of the first so many did."""
        held: dict[int, dict[int, bool]] = {}
        for row in self.rows:
            if row[word] is not None:
                held.setdefault(row["number"], {})[row["attempt"]] = bool(row[word])
        found = []
        for most in range(1, attempts + 1):
            did = [any(of.get(k, False) for k in range(most)) for of in held.values()]
            found.append(share_of(np.array(did, float)))
        return found

    @property
    def pictures(self) -> int:
        """How many it was asked for."""
        return len({row["number"] for row in self.rows})


def share_of(values: Numbers) -> Estimate:
    """Of shares, one a picture."""
    if not len(values):
        return NOTHING
    share = float(values.mean())
    return Estimate.of(share, wilson(share, len(values)))


def mean_95(values: Numbers) -> tuple[float, float] | None:
    """The interval of a mean: the percentiles of means of resamples, which are the same each time."""
    count = len(values)
    if count < 2:
        return None
    if count > MOST_RESAMPLED:
        half = 1.96 * float(values.std(ddof=1)) / count**0.5
        return float(values.mean()) - half, float(values.mean()) + half
    low, high = np.percentile(resamples(count) @ values, [2.5, 97.5])
    return float(low), float(high)


@lru_cache(maxsize=4)
def resamples(count: int) -> Numbers:
    """(resample, value) how much each value weighs, for the mean of so many drawn with replacement."""
    rng = generator("evaluate", "resamples", count)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn / count


def points_of(recipe: EvaluationRecipe, rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """All points in the recipe's order, of outcome rows in any; one that has none is empty."""
    points = {
        (entrant.name, *setting.values()): Point(entrant.name, setting)
        for entrant in recipe.entrants
        for setting in entrant.points
    }
    has_oracle = recipe.held_out.kind == "miniature"
    failed: list[tuple[Point, dict[str, Any]]] = []
    for row in rows:
        point = points[row["entrant"], *(row[name] for name in KNOBS)]
        is_failed = row["verdict"] == "failed"
        point.failed += is_failed
        taken = {name: row[name] for name in ("number", "attempt", *SCORES, *WORDS)}
        taken[PASSES] = passes(recipe.gates, row)
        if is_failed:
            # An edit that was not made did not do what was asked.
            taken |= {word: word == "unreadable" for word in WORDS} if has_oracle else {}
            failed.append((point, taken))
        point.rows.append(taken)
    for point, taken in failed:
        # Unless of no edit that was made it can be told: a share of failures alone would say nothing.
        was_told = any(one[PASSES] is not None for one in point.rows)
        if was_told or (recipe.gates is not None and point.failed == len(point.rows)):
            taken[PASSES] = False
    return list(points.values())


def passes(gates: Thresholds | None, row: Mapping[str, Any]) -> bool | None:
    """Whether an edit is let through, as the filter of pairs does; null where that cannot be told."""
    names = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image")
    if gates is None or any(row[name] is None for name in names):
        return None
    first, second, direction, image = (row[name] for name in names)
    return bool(
        min(first, second) >= gates.text and direction >= gates.direction and image >= gates.image
    )


@dataclass(frozen=True)
class Comparison:
    """Whether one editor's curve lies above another's wherever both are."""

    entrant: str
    than: str
    above: bool | None
    """At every place that both reach; null where there is none."""
    from_: float | None
    to: float | None
    """The places that both reach."""
    pictures: int
    """Of which all points of both curves have both measures: these alone count, so that no curve gains by
    a hard picture that failed in it."""
    least: Estimate
    """The least that it lies above; a bootstrap over pictures, the same for both."""


X, Y = "clip_sim_dir", "clip_sim_image"
"""Along a trade-off curve: how much is edited, and above it how much is kept."""
DONE, KEPT, PLACE = "edit_done", "rest_kept", "place_kept"
"""The same by the oracle: of all that should stay, and of the place of the shape alone."""


Line = tuple[Numbers, Numbers]
"""A curve's points in the order of its settings: directional and image similarities, straight between."""


def heights(line: Line, places: Numbers) -> Numbers:
    """The highest that a curve is at each place, since one may come back; below all where it is not."""
    x, y = (np.append(of, of[-1]) if len(of) == 1 else of for of in line)
    low, high = np.minimum(x[:-1], x[1:]), np.maximum(x[:-1], x[1:])
    width = x[1:] - x[:-1]
    at = places[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(width == 0, 0.0, (at - x[:-1]) / width)
    found = y[:-1] + share * (y[1:] - y[:-1])
    found = np.where(width == 0, np.maximum(y[:-1], y[1:]), found)
    found = np.where((at >= low) & (at <= high), found, -np.inf)
    highest: Numbers = found.max(axis=1)
    return highest


def crossings(line: Line) -> Numbers:
    """The places at which a curve meets itself."""
    x, y = line
    step = np.array([np.inf if b == a else 1 / (b - a) for a, b in pairwise(x)])
    # Where a curve stands still there is no slope, and no matter.
    with np.errstate(invalid="ignore"):
        steep = (y[1:] - y[:-1]) * step
    known = np.isfinite(steep)
    steep = steep[known]
    base = y[:-1][known] - steep * x[:-1][known]
    first, second = np.triu_indices(len(base), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Numbers = (base[second] - base[first]) / (steep[first] - steep[second])
    return found[np.isfinite(found)]


def least_margin(one: Line, other: Line) -> tuple[float, float, float] | None:
    """From where to where both curves reach, and the least by which the first is above there.

    A curve counts where it is highest. What it is above another is straight between the points of both and
    where the first meets itself, and so least at one of these, or beside one of the first's own points: a
    curve that turns back there is lower at its other side.
    """
    low = max(one[0].min(), other[0].min())
    high = min(one[0].max(), other[0].max())
    if low > high:
        return None
    beside = [np.nextafter(one[0], end) for end in (-np.inf, np.inf)]
    inner = np.concatenate([one[0], *beside, other[0], crossings(one)])
    places = np.concatenate([[low, high], inner[(inner > low) & (inner < high)]])
    margins = heights(one, places) - heights(other, places)
    return float(low), float(high), float(margins.min())


def compare(one: Sequence[Point], other: Sequence[Point], x: str = X, y: str = Y) -> Comparison:
    """Two editors' curves of the measure `y` over `x`; each has a point at least."""
    names = one[0].entrant, other[0].entrant
    numbers = common_pictures((*one, *other), (x, y))
    if not numbers:
        return Comparison(*names, None, None, None, 0, NOTHING)
    first, second = (_means(points, numbers, x, y) for points in (one, other))
    whole = np.full((1, len(numbers)), 1 / len(numbers))
    curves = [_curves(of, whole)[0] for of in (first, second)]
    found = least_margin(curves[0], curves[1])
    if found is None:
        return Comparison(*names, None, None, None, len(numbers), NOTHING)
    low, high, least = found
    bounds = None
    if 2 <= len(numbers) <= MOST_RESAMPLED:
        weights = resamples(len(numbers))
        pairs = zip(_curves(first, weights), _curves(second, weights), strict=True)
        margins = [m[2] for a, b in pairs if (m := least_margin(a, b)) is not None]
        margins = [m for m in margins if np.isfinite(m)]
        if len(margins) > RESAMPLES // 2:
            bounds = tuple(map(float, np.percentile(margins, [2.5, 97.5])))
    return Comparison(
        *names,
        least > 0,
        round(low, DIGITS),
        round(high, DIGITS),
        len(numbers),
        Estimate.of(least, bounds),  # type: ignore[arg-type]
    )


def common_pictures(points: Sequence[Point], measures: Sequence[str]) -> list[int]:
    """Those of which every point has every measure, in order."""
    shared = [set(point.by_picture(measure)[0]) for point in points for measure in measures]
    return sorted(set.intersection(*shared))


def _means(
    points: Sequence[Point], numbers: Sequence[int], x: str, y: str
) -> list[tuple[Numbers, Numbers]]:
    """Of each point both measures by picture."""
    found = []
    for point in points:
        of = [dict(zip(*point.by_picture(measure), strict=True)) for measure in (x, y)]
        found.append((_taken(of[0], numbers), _taken(of[1], numbers)))
    return found


def _taken(values: Mapping[int, float], numbers: Sequence[int]) -> Numbers:
    return np.array([values[number] for number in numbers])


def _curves(points: Sequence[tuple[Numbers, Numbers]], weights: Numbers) -> list[Line]:
    """A curve for each row of weights."""
    xs = np.stack([weights @ x for x, _ in points], axis=1)
    ys = np.stack([weights @ y for _, y in points], axis=1)
    return list(zip(xs, ys, strict=True))
