"""Counts of a unit's outcomes, kept in its commit so that a run is summed up without its rows."""

from collections import Counter
from collections.abc import Iterable, Mapping

from schemas.record import Record

KIND_NOT_GIVEN = "not given"


class Tally(Record):
    """Everything that a run's state is summed up from, whatever its stage counts."""

    by_kind: dict[str, dict[str, int]] = {}
    """Outcomes by kind of item, each by what became of it; one kind where a stage knows none."""
    reasons: dict[str, int] = {}
    """Outcomes by why they are not what was wished for; one may have several."""
    marks: dict[str, int] = {}
    """Outcomes with something to note, whatever became of them."""

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


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Names in the order in which they came first; those that count nothing stay."""
    total: Counter[str] = Counter()
    for one in counts:
        for name, count in one.items():
            total[name] += count
    return dict(total)
