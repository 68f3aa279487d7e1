"""Counts of a unit's candidates."""

from collections.abc import Sequence

from schemas.candidate import Candidate
from schemas.ledger.layout import GENERATE
from schemas.ledger.tally import Tally, count
from schemas.triplet import Triplet


def tally_of(candidates: Sequence[Candidate], triplets: Sequence[Triplet]) -> Tally:
    """Count candidates by their triplets' edit kinds."""
    kinds = {triplet.triplet_id: triplet.edit_kind for triplet in triplets}
    rows = ({**vars(one), "kind": kinds[one.triplet_id]} for one in candidates)
    return count(GENERATE, rows)
