"""Counts of a unit's outcomes, kept in its commit so that a run is summed up without its rows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.ledger.layout import Layout
from schemas.record import Record

KIND_NOT_GIVEN = "not given"


class Tally(Record):
    """Everything that a run's state is summed up from, whatever its stage counts."""

    by_kind: dict[str, dict[str, int]] = {}
    """Outcomes by kind of item, each by what became of it; one kind where a stage knows none."""
    reasons: dict[str, int] = {}
    """Outcomes by why they are not what was wished for; one may have several."""
    marks: dict[str, int] = {}
    """Outcomes with something to note, whatever became of them; of a mark that is a number, their sum."""

    @property
    def settled(self) -> "Tally":
        """Without what failed, which was made anew."""
        by_kind = {kind: {**of, Layout.FAILED: 0} for kind, of in self.by_kind.items()}
        return self.model_copy(update={"by_kind": by_kind})

    @property
    def total(self) -> dict[str, int]:
        """What became of all of them."""
        return _sum(self.by_kind.values())

    @classmethod
    def sum(cls, tallies: Iterable["Tally"]) -> "Tally":
        """All of them together."""
        several = list(tallies)
        kinds = sorted({kind for tally in several for kind in tally.by_kind})
        return cls(
            by_kind={
                kind: _sum(tally.by_kind.get(kind, {}) for tally in several) for kind in kinds
            },
            reasons=dict(sorted(_sum(tally.reasons for tally in several).items())),
            marks=_sum(tally.marks for tally in several),
        )


def count(layout: Layout, rows: Iterable[Mapping[str, Any]]) -> Tally:
    """Count outcomes by their columns `verdict`, `kind`, `reason` and marks, as far as a layout has them.

    An outcome may have several reasons, joined by commas. A failed one's is its own, and no kind of reason.
    """
    by_kind: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    marks = dict.fromkeys(layout.marks, 0)
    for row in rows:
        verdict, kind = row["verdict"], row.get("kind") or KIND_NOT_GIVEN
        if kind not in by_kind:
            by_kind[kind] = Counter()
        by_kind[kind][verdict] += 1
        if row.get("reason") and verdict != layout.FAILED:
            for reason in row["reason"].split(","):
                reasons[reason] += 1
        for name in marks:
            marks[name] += int(row[name])
    return Tally(
        by_kind={
            kind: {name: counts[name] for name in layout.counts}
            for kind, counts in sorted(by_kind.items())
        },
        reasons=dict(sorted(reasons.items())),
        marks=marks,
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Names in the order in which they came first; those that count nothing stay."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
