"""Counts of a unit's candidates."""

from collections import Counter
from collections.abc import Iterable, Mapping

from schemas.candidate import Candidate, Verdict
from schemas.tally import KIND_NOT_GIVEN, Tally


def tally_of(rows: Iterable[Candidate], kinds: Mapping[str, str | None]) -> Tally:
    """Count rows; `kinds` names each triplet's edit kind."""
    verdicts: dict[str, Counter[Verdict]] = {}
    rejections: Counter[str] = Counter()
    borderline = truncated = 0
    for row in rows:
        kind = kinds[row.triplet_id] or KIND_NOT_GIVEN
        verdicts.setdefault(kind, Counter())[row.verdict] += 1
        if row.verdict == Verdict.REJECTED:
            rejections.update((row.reason or "").split(","))
        borderline += row.borderline
        truncated += row.truncated
    return Tally(
        by_kind={
            kind: {verdict.value: counter[verdict] for verdict in Verdict}
            for kind, counter in sorted(verdicts.items())
        },
        reasons=dict(sorted(rejections.items())),
        marks={"borderline": borderline, "truncated": truncated},
    )
