"""The main job, one unit: make every candidate, judge it, commit the outcomes."""

from collections.abc import Sequence

from factory import deeds
from factory.errors import ObjectMissing
from factory.ledger.attempts import find_commit
from factory.ledger.commits import Attempt, Commit, Data, Outcomes, write_commit
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.pairs.selection import Selection
from factory.pairs.source import PairSource, draws
from factory.pairs.tally import tally_of
from factory.work.reports import UnitReport
from schemas.arrow import to_parquet
from schemas.candidate import Candidate, Scores, Verdict
from schemas.commit import CommitRecord
from schemas.environment import NOWHERE
from schemas.pair import Pair
from schemas.record import Record
from schemas.triplet import Triplet


def generate_unit(run: Run, plan: Plan, unit: int, source: PairSource) -> UnitReport:
    """Make and commit one unit; safe to run twice, anywhere, at the same time.

    Raises `StorageError` where the outcomes could not be committed; then nothing of it counts.
    """
    attempt = Attempt()
    try:
        return _committed(run, plan, unit, attempt)
    except ObjectMissing:
        pass
    triplets = triplets_of(plan, unit)
    selection = Selection(run.recipe)
    for outcome in source.pairs([draw for t in triplets for draw in draws(run.recipe, t)]):
        selection.add(outcome)
    deeds.made()
    candidates, pairs = selection.result(triplets)
    outcomes = outcomes_of(triplets, candidates, pairs, source.environment())
    if not write_commit(run, unit, outcomes, attempt, plan.generation(unit)):
        return _committed(run, plan, unit, attempt)
    return _report(unit, outcomes.tally.total, attempt, made=True)


def commit_failed(run: Run, plan: Plan, unit: int, reason: str) -> None:
    """Commit every candidate of a unit as failed, so that a run with a poison unit ends.

    A commit that another attempt has stored meanwhile stays, and counts.
    """
    try:
        find_commit(run, plan, unit)
        return
    except ObjectMissing:
        pass
    triplets = triplets_of(plan, unit)
    candidates = [
        Candidate(
            triplet_id=triplet.triplet_id,
            index=draw.index,
            seed=draw.seed,
            p2p_threshold=draw.p,
            cfg_scale=draw.guidance,
            verdict=Verdict.FAILED,
            reason=reason,
            borderline=False,
            truncated=False,
            **dict.fromkeys(Scores.model_fields),
        )
        for triplet in triplets
        for draw in draws(run.recipe, triplet)
    ]
    outcomes = outcomes_of(triplets, candidates, [], NOWHERE)
    write_commit(run, unit, outcomes, Attempt(), plan.generation(unit))


def triplets_of(plan: Plan, unit: int) -> list[Triplet]:
    """A unit's triplets, in order."""
    return [Triplet.model_validate(row) for row in plan.items(unit)]


def candidates_of(commit: Commit) -> list[Candidate]:
    """A commit's candidates, in order."""
    return [Candidate.model_validate(row) for row in commit.rows]


def outcomes_of(
    triplets: Sequence[Triplet],
    candidates: Sequence[Candidate],
    pairs: Sequence[Pair],
    environment: Record,
) -> Outcomes:
    """What is committed of a unit."""
    tally = tally_of(candidates, {t.triplet_id: t.edit_kind for t in triplets})
    data = Data(to_parquet(Pair, pairs), len(pairs)) if pairs else None
    return Outcomes(candidates, tally, environment, data)


def _committed(run: Run, plan: Plan, unit: int, attempt: Attempt) -> UnitReport:
    """What the commit in the store says, whoever wrote it. Raises `ObjectMissing`."""
    found: CommitRecord = find_commit(run, plan, unit).record
    return _report(unit, found.tally.total, attempt, made=False)


def _report(unit: int, counts: dict[str, int], attempt: Attempt, *, made: bool) -> UnitReport:
    by_verdict = {verdict.value: counts.get(verdict, 0) for verdict in Verdict}
    return UnitReport(
        unit=unit,
        accepted=by_verdict["accepted"],
        rejected=by_verdict["rejected"],
        failed=by_verdict["failed"],
        seconds=attempt.seconds,
        made=made,
    )
