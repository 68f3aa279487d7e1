"""A pilot run as its ledger tells it: what became of its triplets, and what its units took."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from factory.errors import ConfigError, RunMismatch
from factory.ledger.book import READERS, Book
from factory.ledger.plan import Plan, find_plan
from factory.ledger.run import Run, open_run
from factory.ledger.units.attempts import FoundCommit, find_commit, whole_commit
from schemas.candidate import Verdict
from schemas.ledger.layout import GENERATE
from schemas.ledger.tally import KIND_NOT_GIVEN
from schemas.running.environment import NOWHERE

USUAL_CALLS = 2
"""Units that one worker has in hand at most, unless its configuration says otherwise."""

FEWEST_UNITS = 2
"""One alone does not tell how units differ."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Pilot:
    """Of all committed units of a run of `generate`."""

    uri: str
    kinds: tuple[str, ...]
    """A triplet's edit kind, one each, in the plan's order."""
    kept: tuple[int, ...]
    """Its pairs."""
    candidates: int
    """Of each triplet."""
    most: int
    """Pairs that one triplet may keep."""
    unit_triplets: int
    unit_s: tuple[float, ...]
    """Seconds of a worker that a whole unit takes, start-up not counted, one for each that was made."""
    calls: int
    """Units that a worker had in hand at once."""
    device: str
    pair_bytes: float | None
    """Of a stored pair; null where there is none."""
    unit_bytes: float
    """Of a unit's commit."""

    @property
    def triplets(self) -> int:
        return len(self.kept)

    @property
    def pairs(self) -> int:
        return sum(self.kept)

    def of_kind(self, kind: str) -> list[int]:
        """Pairs of each triplet of one edit kind."""
        both = zip(self.kinds, self.kept, strict=True)
        return [kept for its, kept in both if its == kind]


def read_pilot(uri: str, workers: int | None = None) -> Pilot:
    """Read every commit of a run; `workers` made it, None is one that had no more than two units in hand.

    Raises `RunMismatch` where it is no run of `generate` or holds nothing made, `ConfigError` where more
    units were in hand at once than one worker has.
    """
    run = open_run(uri)
    if run.layout != GENERATE:
        raise RunMismatch(
            f"{uri}: must be a run of generate, got one of {run.layout.stage}; forecast tells pairs"
        )
    plan = find_plan(run)
    found = _commits(run, plan) if plan else []
    made = [one for one in found if one.record.environment != NOWHERE.model_dump(mode="json")]
    if plan is None or len(made) < FEWEST_UNITS:
        raise RunMismatch(
            f"{uri}: must hold {FEWEST_UNITS} units that were made at least, got {len(made)}; make a pilot "
            "first: generate --limit 40, of a list in random order"
        )
    spans = [(one.record.started, one.record.ended) for one in made]
    at_once = most_at_once(spans)
    if workers is None and at_once > USUAL_CALLS:
        raise ConfigError(
            f"--pilot-workers: must be given where more than {USUAL_CALLS} units were in hand at once, "
            f"got none and {at_once} at once; how many workers made {uri}?"
        )
    kinds: list[str] = []
    kept: list[int] = []
    each = run.recipe.candidates
    for one in found:
        rows = whole_commit(run, one).rows
        for number, item in enumerate(plan.items(one.record.unit)):
            outcomes = rows[number * each : (number + 1) * each]
            kinds.append(item["edit_kind"] or KIND_NOT_GIVEN)
            kept.append(sum(row["verdict"] == Verdict.ACCEPTED for row in outcomes))
    units = plan.record.unit_items
    seconds = worker_seconds(spans, workers or 1)
    sizes = [plan.size(one.record.unit) for one in made]
    pairs, stored = sum(kept), sum(one.record.data.bytes for one in found if one.record.data)
    return Pilot(
        uri=uri,
        kinds=tuple(kinds),
        kept=tuple(kept),
        candidates=each,
        most=min(each, run.recipe.keep.most),
        unit_triplets=units,
        unit_s=tuple(s * units / size for s, size in zip(seconds, sizes, strict=True)),
        calls=-(-at_once // (workers or 1)),
        device=str(made[-1].record.environment["device"]),
        pair_bytes=stored / pairs if pairs else None,
        unit_bytes=sum(len(one.data) for one in found) / len(found),
    )


def _commits(run: Run, plan: Plan) -> list[FoundCommit]:
    """The commit that counts of every unit that is not open."""
    book = Book(run, plan)
    chosen = {u: line for segment in book.segments for u, line in book.chosen(segment).items()}
    units = [unit for unit, done in enumerate(book.committed()) if done]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda unit: find_commit(run, plan, unit, chosen.get(unit)), units))


def most_at_once(spans: Sequence[Span]) -> int:
    """How many of several spans of time cover one moment at most; an end is before a beginning."""
    held = most = 0
    for _, step in _changes(spans):
        held += step
        most = max(most, held)
    return most


def worker_seconds(spans: Sequence[Span], workers: int) -> list[float]:
    """Of each unit, by when it was begun and committed: units that are in hand at once share the workers.

    They add up to the time in which workers had something in hand, so that pauses between starts are no
    unit's, and two units that feed one worker are not counted twice.
    """
    changes = _changes(spans)
    reached = {changes[0][0]: 0.0}
    held, share = 0, 0.0
    for (before, step), (now, _) in pairwise(changes):
        held += step
        share += (now - before) * min(workers, held) / held if held else 0.0
        reached[now] = share
    return [reached[end] - reached[begin] for begin, end in spans]


def _changes(spans: Sequence[Span]) -> list[tuple[float, int]]:
    """Every beginning (1) and end (-1) in their order, an end before a beginning."""
    return sorted((when, step) for span in spans for when, step in zip(span, (1, -1), strict=True))
