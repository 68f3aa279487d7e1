"""What became of a run that was disturbed, held against the same run left in peace."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.manifest import manifest_hash, newest_manifest, unit_lines
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run, open_run
from factory.ledger.units.commits import commit_names
from factory.ledger.verify.run import verify
from factory.storage.protocol import ObjectStore
from schemas.ledger.commit import UnitLine
from tests.chaos.command import around, committed, names
from tests.chaos.subjects.subject import Name, Subject


@dataclass
class Findings:
    """Counts; the first seven must be 0."""

    lost: int = 0
    """Planned outcomes that are not there, and kept ones without what they kept."""
    duplicated: int = 0
    """Kept outcomes that a reader meets twice, units that are listed twice, and units with two commits."""
    torn: int = 0
    """Objects that are not whole, or not byte for byte those of the undisturbed run."""
    recomputed: int = 0
    """Outcomes made again by a worker that could have seen their commit: it asked, or began without
    asking, after the first commit of the unit was stored. With sealed commits that is any attempt's,
    since every whole attempt keeps a unit from being made again, whichever counts in the end."""
    falsely_failed: int = 0
    """Outcomes that failed here, and not in peace."""
    strays: int = 0
    """Objects around a run that are not another's and are not named, and such as are and are not there."""
    paid_twice: int = 0
    """Requests for what is paid, sent by a worker that looked for the reply when it was stored already."""
    units: int = 0
    outcomes: int = 0
    kept: int = 0
    made: int = 0
    """Outcomes made, those in flight at a kill included."""
    most_open: int = 0
    """Units that a worker had begun and nobody had committed when it was last heard of, at most of all
    workers: what a kill costs."""
    surplus_attempts: int = 0
    """Commits beside the one that counts, where each attempt has its own: of workers who both began
    before either had committed."""
    poison_units_found: int = 0
    answers: int = 0
    """Replies that a server gave, for money."""
    answers_lost: int = 0
    """Of those, beyond the stored ones: they had come, and their worker was killed before they were stored,
    or two workers asked at one moment."""
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
        harm = self.lost + self.duplicated + self.torn + self.recomputed
        return harm + self.falsely_failed + self.strays + self.paid_twice


def examine(
    subject: Subject,
    store: ObjectStore,
    peace: ObjectStore,
    log: Path,
    landed: Mapping[int, float],
    poison: frozenset[str] = frozenset(),
    stored: Mapping[str, float] = MappingProxyType({}),
) -> Findings:
    """Compare a finished run with the undisturbed one.

    `landed` says when each unit's commit was stored, `log` is what the workers' makers wrote down,
    `poison` the items whose units can only fail, `stored` when each object was.
    """
    run, found = open_run(store), Findings()
    plan = read_plan(run)
    rows, wanted = committed(subject, store), committed(subject, peace)
    poisoned = {unit for unit in plan.units if poison & set(subject.ids(plan.items(unit)))}
    found.units, found.outcomes = len(rows), sum(map(len, rows.values()))
    found.lost += len(names(wanted) - names(rows))
    for unit, there in rows.items():
        failed = [row for row in there if row.failed]
        if unit in poisoned:
            found.poison_units_found += len(failed) == len(there)
        else:
            right = {row.name for row in wanted.get(unit, []) if row.failed}
            ours = [row for row in failed if row.name not in right]
            found.falsely_failed += len(ours)
            found.words += [f"unit {unit} failed: {row.fields['reason']}" for row in ours[:1]]
    _compare_data(subject, store, peace, poisoned, found)
    damages = verify(run, subject.check).damages
    found.torn += len(damages)
    found.words += damages
    astray = list(strays(subject, run))
    found.strays += len(astray)
    found.words += astray
    _read_log(subject, plan, log, landed, found)
    _read_payments(log, stored, found)
    found.words = found.words[:5]
    return found


def strays(subject: Subject, run: Run) -> Iterator[str]:
    """What lies around a sealed run otherwise than as others left it and its outcomes name it."""
    meant = {k: hashlib.sha256(data).hexdigest() for k, data in subject.anothers.items()}
    meant |= subject.named(run)
    there = around(run.store)
    for key in sorted({*meant, *there}):
        if there.get(key) != meant.get(key):
            yield f"around the run at {key}: {there.get(key)}, must be {meant.get(key)}"


def _compare_data(
    subject: Subject,
    store: ObjectStore,
    peace: ObjectStore,
    poisoned: set[int],
    found: Findings,
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
    kept = Counter(_read_kept(subject, store, listed, poisoned))
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
            # What it kept is counted as lost.
            continue
        if line.data_key is None or data != peace.get(line.data_key):
            found.torn += 1
    found.kept += len(kept)
    calmly_kept = set(_read_kept(subject, peace, calm_lines.values(), poisoned))
    found.lost += len(calmly_kept - set(kept))
    found.duplicated += sum(kept.values()) - len(kept)
    found.duplicated += len(listed) - len(lines)
    found.duplicated += len(sealed[1].parts) - len({part.key for part in sealed[1].parts})
    commits = Counter((name.unit, name.generation) for name in commit_names(store))
    if run.commits == "conditional":
        found.duplicated += sum(count - 1 for count in commits.values())
    else:
        found.surplus_attempts += sum(count - 1 for count in commits.values())
    stage = subject.layout.stage
    for info in store.list(subject.folder_of_data):
        whole = hashlib.sha256(store.get(info.key)).hexdigest()
        unit, ending = keys.unit_of_data(stage, info.key) or 0, info.key.rpartition(".")[2]
        if keys.data(stage, unit, whole, ending) != info.key:
            found.torn += 1
            found.words.append(f"{info.key}: not the bytes it is named by")


def _read_kept(
    subject: Subject, store: ObjectStore, listed: Iterable[UnitLine], poisoned: set[int]
) -> Iterator[Name]:
    """Each kept outcome as often as a reader meets it who opens every file that the manifest lists."""
    run = open_run(store)
    plan = read_plan(run)
    for line in listed:
        if line.unit in poisoned:
            continue
        try:
            yield from subject.kept(run, plan, line)
        except (ObjectMissing, ValueError, OSError):
            # What it kept is counted as lost, and what is left of it as torn.
            continue


def _read_log(
    subject: Subject, plan: Plan, log: Path, landed: Mapping[int, float], found: Findings
) -> None:
    """Count what was made, what was made although its commit could be seen, and what was open at an end."""
    unit_of = {item: unit for unit in plan.units for item in subject.ids(plan.items(unit))}
    made: set[int] = set()
    for file in sorted(log.glob("*.jsonl")):
        begun: set[int] = set()
        heard = 0.0
        for line in whole_lines(file):
            heard = line["at"]
            if "pays" in line:
                continue
            if "made" not in line:
                begun |= {unit_of[item] for item in line["begin"]}
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


def _read_payments(log: Path, stored: Mapping[str, float], found: Findings) -> None:
    """Count what was asked for although it stood in the store when it was looked for."""
    for file in sorted(log.glob("*.jsonl")):
        for line in whole_lines(file):
            if "pays" in line and stored.get(line["pays"], float("inf")) < line["looked"]:
                found.paid_twice += 1
                found.words.append(f"{line['pays']} was paid for again by {file.stem}")


def whole_lines(file: Path) -> list[dict]:  # type: ignore[type-arg]
    """The lines of a file whose writer may have been killed."""
    text = file.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
