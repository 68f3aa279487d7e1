"""What became of a run that was disturbed, held against the same run left in peace."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.commits import commit_names
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import open_run
from factory.ledger.sealed import manifest_hash, newest_manifest, unit_lines
from factory.pairs.generate import triplets_of
from factory.pairs.verify import verify
from factory.storage.protocol import ObjectStore
from schemas.arrow import from_parquet
from schemas.candidate import Verdict
from schemas.commit import UnitLine
from schemas.pair import Pair
from tests.chaos.command import committed, names


@dataclass
class Findings:
    """Counts; all but the last seven must be 0."""

    lost: int = 0
    """Planned candidates without an outcome, and accepted ones without their pair."""
    duplicated: int = 0
    """Pairs that a reader meets twice, units that are listed twice, and units with two commits."""
    torn: int = 0
    """Objects that are not whole, or not byte for byte those of the undisturbed run."""
    recomputed: int = 0
    """Candidates made again by a worker that could have seen their commit: it asked, or began without
    asking, after the first commit of the unit was stored. With sealed commits that is any attempt's,
    since every whole attempt keeps a unit from being made again, whichever counts in the end."""
    falsely_failed: int = 0
    """Candidates that failed here, and not in peace."""
    units: int = 0
    candidates: int = 0
    accepted: int = 0
    made: int = 0
    """Candidates made, those in flight at a kill included."""
    most_open: int = 0
    """Units that a worker had begun and nobody had committed when it was last heard of, at most of all
    workers: what a kill costs."""
    surplus_attempts: int = 0
    """Commits beside the one that counts, where each attempt has its own: of workers who both began
    before either had committed."""
    poison_units_found: int = 0
    words: list[str] = field(default_factory=list)
    """The first of what is wrong."""

    def add(self, other: "Findings") -> None:
        """Sum up."""
        most = max(self.most_open, other.most_open)
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.most_open = most

    @property
    def faults(self) -> int:
        """All that must be 0."""
        return self.lost + self.duplicated + self.torn + self.recomputed + self.falsely_failed


def examine(
    store: ObjectStore,
    peace: ObjectStore,
    log: Path,
    landed: Mapping[int, float],
    poison: frozenset[str] = frozenset(),
) -> Findings:
    """Compare a finished run with the undisturbed one.

    `landed` says when each unit's commit was stored, `log` is what the workers' sources wrote down,
    `poison` the triplets whose units can only fail.
    """
    run, found = open_run(store), Findings()
    plan = read_plan(run)
    rows, wanted = committed(store), committed(peace)
    poisoned = {
        unit
        for unit in plan.units
        if poison & {t.triplet_id for t in triplets_of(plan.items(unit))}
    }
    found.units, found.candidates = len(rows), sum(map(len, rows.values()))
    found.lost += len(names(wanted) - names(rows))
    for unit, there in rows.items():
        right = {(row.triplet_id, row.index): row.verdict for row in wanted.get(unit, [])}
        failed = [row for row in there if row.verdict == Verdict.FAILED]
        if unit in poisoned:
            found.poison_units_found += len(failed) == len(there)
        else:
            ours = [r for r in failed if right.get((r.triplet_id, r.index)) != Verdict.FAILED]
            found.falsely_failed += len(ours)
            found.words += [f"unit {unit} failed: {row.reason}" for row in ours[:1]]
    _compare_data(store, peace, poisoned, found)
    damages = verify(run).damages
    found.torn += len(damages)
    found.words += damages
    _read_log(plan, log, landed, found)
    found.words = found.words[:5]
    return found


def _compare_data(
    store: ObjectStore, peace: ObjectStore, poisoned: set[int], found: Findings
) -> None:
    run, calm = open_run(store), open_run(peace)
    sealed, right = newest_manifest(run), newest_manifest(calm)
    assert right is not None, "the undisturbed run is sealed"
    if sealed is None:
        found.torn += 1
        found.words.append("no manifest")
        return
    if not poisoned and manifest_hash(run, sealed[1]) != manifest_hash(run, right[1]):
        found.torn += 1
        found.words.append("the manifest is not the undisturbed run's")
    listed = list(unit_lines(run, sealed[1]))
    lines = {line.unit: line for line in listed}
    calm_lines = {line.unit: line for line in unit_lines(calm, right[1])}
    pairs = Counter(_read_pairs(store, listed, poisoned))
    for unit, line in calm_lines.items():
        ours = lines.get(unit)
        if ours is None or unit in poisoned:
            continue
        if ours != line:
            found.torn += 1
            found.words.append(f"unit {unit} is not the undisturbed run's")
        if ours.data_key is None:
            continue
        try:
            data = store.get(ours.data_key)
        except ObjectMissing:
            # Its pairs are counted as lost.
            continue
        if line.data_key is None or data != peace.get(line.data_key):
            found.torn += 1
    found.accepted += len(pairs)
    found.lost += len(set(_read_pairs(peace, calm_lines.values(), poisoned)) - set(pairs))
    found.duplicated += sum(pairs.values()) - len(pairs)
    found.duplicated += len(listed) - len(lines)
    found.duplicated += len(sealed[1].parts) - len({part.key for part in sealed[1].parts})
    commits = Counter((name.unit, name.generation) for name in commit_names(store))
    if run.commits == "conditional":
        found.duplicated += sum(count - 1 for count in commits.values())
    else:
        found.surplus_attempts += sum(count - 1 for count in commits.values())
    for info in store.list(keys.DATA["generate"]):
        whole = hashlib.sha256(store.get(info.key)).hexdigest()
        unit = keys.unit_of_data("generate", info.key) or 0
        if keys.data("generate", unit, whole, "parquet") != info.key:
            found.torn += 1
            found.words.append(f"{info.key}: not the bytes it is named by")


def _read_pairs(
    store: ObjectStore, listed: Iterable[UnitLine], poisoned: set[int]
) -> Iterator[tuple[str, int]]:
    """Each pair as often as a reader meets it who opens every file that the manifest lists."""
    for line in listed:
        if line.data_key is None or line.unit in poisoned:
            continue
        try:
            rows, _ = from_parquet(Pair, store.get(line.data_key))
        except (ObjectMissing, ValueError, OSError):
            # Its pairs are counted as lost, and what is left of it as torn.
            continue
        yield from ((pair.triplet_id, pair.index) for pair in rows)


def _read_log(plan: Plan, log: Path, landed: Mapping[int, float], found: Findings) -> None:
    """Count what was made, what was made although its commit could be seen, and what was open at an end."""
    unit_of = {t.triplet_id: unit for unit in plan.units for t in triplets_of(plan.items(unit))}
    made: set[int] = set()
    for file in sorted(log.glob("*.jsonl")):
        begun: set[int] = set()
        heard = 0.0
        for line in whole_lines(file):
            heard = line["at"]
            if "made" not in line:
                begun |= {unit_of[triplet] for triplet in line["begin"]}
                continue
            unit = unit_of[line["made"]]
            made.add(unit)
            found.made += 1
            # The commit was stored before this worker asked for it, or before it made without asking.
            if landed.get(unit, float("inf")) < (line["asked"] or line["at"]):
                found.recomputed += 1
                found.words.append(f"unit {unit} was made again by {file.stem}")
        still_open = [unit for unit in begun if landed.get(unit, float("inf")) > heard]
        found.most_open = max(found.most_open, len(still_open))
    assert len(made) + found.poison_units_found >= found.units, "the workers' log has gaps"


def whole_lines(file: Path) -> list[dict]:  # type: ignore[type-arg]
    """The lines of a file whose writer may have been killed."""
    text = file.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
