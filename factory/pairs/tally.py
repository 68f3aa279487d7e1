"""Counts of a unit's candidates."""

from collections.abc import Sequence

from schemas.arrow import rows_to_json
from schemas.candidate import Candidate
from schemas.ledger.layout import GENERATE
from schemas.ledger.tally import Tally, count
from schemas.triplet import Triplet


def tally_of(candidates: Sequence[Candidate], triplets: Sequence[Triplet]) -> Tally:
    """Count candidates by their triplets' edit kinds."""
    kinds = {triplet.triplet_id: triplet.edit_kind for triplet in triplets}
    rows = rows_to_json(candidates)
    return count(GENERATE, ({**row, "kind": kinds[row["triplet_id"]]} for row in rows))
