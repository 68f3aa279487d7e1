"""What only the stage knows of a unit of pairs: which candidates were planned, and what is kept of them."""

from collections.abc import Iterator

from factory.dataset.run_card import run_card
from factory.errors import first_line
from factory.ledger.plan import Row
from factory.ledger.run import Run
from factory.ledger.units.commits import Commit
from factory.ledger.verify.run import Verification
from factory.ledger.verify.run import verify as verify_any
from factory.pairs.scores import check_scores, lay_scores
from factory.pairs.tally import tally_of
from factory.work.stage import Sealing
from schemas.arrow import from_parquet
from schemas.candidate import Candidate, Verdict
from schemas.pair import Pair
from schemas.triplet import Triplet


def candidates_of(commit: Commit) -> list[Candidate]:
    """A commit's candidates, in order."""
    return [Candidate.model_validate(row) for row in commit.rows]


def verify(run: Run) -> Verification:
    """Read everything of a run of pairs back; never raises for damage, which is listed instead."""
    return verify_any(run, SEALING.check, SEALING.lay_out, SEALING.check_derived)


def check_pairs(
    run: Run, items: list[Row], commit: Commit, data: bytes | None
) -> Iterator[tuple[str, str]]:
    """A `Check` of `generate`'s units."""
    triplets = [Triplet.model_validate(row) for row in items]
    try:
        candidates = candidates_of(commit)
    except ValueError as error:
        yield "", f"not a whole commit: {first_line(error)}"
        return
    wanted = [(t.triplet_id, index) for t in triplets for index in range(run.recipe.candidates)]
    planned = [(row.triplet_id, row.index) for row in candidates] == wanted
    if not planned:
        yield "", "candidates are not the planned ones"
    if planned and commit.record.tally != tally_of(candidates, triplets):
        yield "", "counts are not those of its candidates"
    accepted = [(c.triplet_id, c.index) for c in candidates if c.verdict == Verdict.ACCEPTED]
    file = commit.record.data
    if file is None or data is None:
        if accepted:
            yield "", f"accepts {len(accepted)} candidates, names no pairs"
        return
    try:
        pairs, _ = from_parquet(Pair, data)
    except (ValueError, OSError) as error:
        yield file.key, f"not a pairs file: {first_line(error)}"
        return
    if [(pair.triplet_id, pair.index) for pair in pairs] != accepted:
        yield file.key, f"pairs are not the accepted candidates of unit {commit.record.unit}"


SEALING = Sealing(check_pairs, derive=lay_scores, check_derived=check_scores, lay_out=run_card)
