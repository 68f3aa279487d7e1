"""Which commit of a unit counts: the one function through which commits are read.

`conditional`   there is one, because one conditional PUT stored it
`sealed`        a store lets several writers win, so each attempt has its own object, and the one with
                the smallest id counts whose commit and data are whole, and of several whose objects
                around the run stand as it names them. Once a roll-up or a manifest lists another one
                that one counts for good, whatever arrives later.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from factory.errors import Damaged, ObjectMissing
from factory.ledger import keys
from factory.ledger.lines import tally_of
from factory.ledger.named import stands
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.ledger.units.commits import Commit, commit_of, record_of
from factory.storage.patience import patiently, read_whole
from schemas.canonical import canonical_json
from schemas.ledger.commit import CommitRecord, LedgerLine, UnitLine
from schemas.ledger.layout import Layout, to_stored
from schemas.ledger.tally import Tally

Attempts = tuple[str, ...]


@dataclass(frozen=True)
class FoundCommit:
    """A commit that was read back: its record, and its bytes for whoever wants the rows."""

    key: str
    generation: int
    record: CommitRecord
    data: bytes
    layout: Layout

    @property
    def line(self) -> LedgerLine:
        """All that resume, status and seal need of it."""
        record = self.record
        return LedgerLine(
            unit=record.unit,
            outcomes_sha256=record.outcomes_sha256,
            counts={name: record.tally.total.get(name, 0) for name in self.layout.counts},
            data_key=record.data.key if record.data else None,
            data_sha256=record.data.sha256 if record.data else None,
            data_bytes=record.data.bytes if record.data else None,
            generation=self.generation,
            attempt=record.attempt,
            commit_sha256=hashlib.sha256(self.data).hexdigest(),
            tally=canonical_json(to_stored(self.layout, record.tally)).decode(),
            seconds=record.ended - record.started,
        )


def earlier_commits(run: Run, found: FoundCommit) -> list[FoundCommit]:
    """The commits of which this one makes the failed outcomes anew, oldest first. Raises `Damaged`."""
    unit, names = found.record.unit, found.record.earlier
    sealed = run.commits == "sealed"
    first = found.generation - len(names)
    return [
        read_found(
            run,
            unit,
            generation,
            keys.attempt(unit, generation, name) if sealed else keys.commit(unit, generation),
        )
        for generation, name in enumerate(names, first)
    ]


def line_of(run: Run, found: FoundCommit) -> LedgerLine:
    """A commit's line: its own, or with those before it where failed outcomes alone were made anew."""
    older = [one.line for one in earlier_commits(run, found)]
    if not older:
        return found.line
    line, layout = found.line, run.layout
    tally = Tally.sum([*(tally_of(layout, one).settled for one in older), tally_of(layout, line)])
    names = ("outcomes_sha256", "data_key", "data_sha256", "data_bytes")
    contents = [{name: getattr(one, name) for name in names} for one in older]
    return line.model_copy(
        update={
            "counts": {name: tally.total.get(name, 0) for name in layout.counts},
            "tally": canonical_json(to_stored(layout, tally)).decode(),
            "earlier": canonical_json(contents).decode(),
        }
    )


def open_items(run: Run, plan: Plan, unit: int, generation: int) -> tuple[list[Row], Attempts]:
    """What a generation of a unit is made of: its items, or those that failed before; and the attempts
    at which they did, oldest first.
    """
    items = plan.items(unit)
    if generation == plan.retries.anew.get(unit, 0) or run.layout.retry == "unit":
        return items, ()
    found = find_commit(run, plan, unit, generation=generation - 1)
    for commit in (*earlier_commits(run, found), found):
        items = left_of(run, commit, items)
    return items, (*found.record.earlier, found.record.attempt)


def items_of(run: Run, plan: Plan, found: FoundCommit) -> list[Row]:
    """What a commit was made of. Raises `Damaged`."""
    items = plan.items(found.record.unit)
    for commit in earlier_commits(run, found):
        items = left_of(run, commit, items)
    return items


def left_of(run: Run, found: FoundCommit, items: list[Row]) -> list[Row]:
    """Of the items of a commit those that failed. Raises `Damaged`."""
    rows = commit_of(run, found.record.unit, found.key, found.data).rows
    if len(rows) != len(items):
        raise Damaged(f"{run.uri}/{found.key}: must hold {len(items)} outcomes, got {len(rows)}")
    both = zip(items, rows, strict=True)
    return [item for item, row in both if row["verdict"] == Layout.FAILED]


def whole_commit(run: Run, found: FoundCommit) -> Commit:
    """The newest outcome of every item of a unit, in their order. Raises `Damaged`."""
    commits = [
        commit_of(run, found.record.unit, one.key, one.data)
        for one in (*earlier_commits(run, found), found)
    ]
    rows = commits[-1].rows
    for commit in reversed(commits[:-1]):
        anew = iter(rows)
        rows = [next(anew) if row["verdict"] == Layout.FAILED else row for row in commit.rows]
    return Commit(found.record, rows)


def find_commit(
    run: Run,
    plan: Plan,
    unit: int,
    chosen: UnitLine | None = None,
    generation: int | None = None,
) -> FoundCommit:
    """The commit of a unit that counts, of its newest generation unless another is named.

    `chosen` is what a roll-up or a manifest lists of it. Raises `ObjectMissing` where the unit is
    open, and `Damaged` where its one commit is.
    """
    if generation is None:
        generation = plan.generation(unit)
    if run.commits == "conditional":
        return read_found(run, unit, generation, keys.commit(unit, generation))
    if isinstance(chosen, LedgerLine):
        return read_found(run, unit, generation, keys.attempt(unit, generation, chosen.attempt))
    first = None
    for found in whole_attempts(run, unit, generation):
        if chosen is None or line_of(run, found).content == chosen:
            return found
        first = first or found
    if first is None:
        prefix = keys.attempts(unit, generation)
        raise ObjectMissing(f"{run.uri}/{prefix}: no attempt whose commit and data are whole")
    return first


def whole_attempts(run: Run, unit: int, generation: int) -> Iterator[FoundCommit]:
    """The attempts of a unit that may count, by id."""
    attempts = list(attempt_keys(run, unit, generation))
    for key in attempts:
        try:
            found = read_found(run, unit, generation, key)
        except (Damaged, ObjectMissing):
            continue
        # Another recipe: two first drivers began this run at one moment, and RUN.json is not theirs.
        if found.record.recipe_hash != run.recipe_hash or not _has_data(run, found):
            continue
        if len(attempts) == 1 or not run.layout.named or _has_objects(run, found):
            yield found


def attempt_keys(run: Run, unit: int, generation: int) -> Iterator[str]:
    """The commits of a unit's attempts, by id."""
    for info in run.store.list(keys.attempts(unit, generation)):
        if keys.commit_name(info.key) is not None:
            yield info.key


def _has_data(run: Run, found: FoundCommit) -> bool:
    named = found.record.data
    if named is None:
        return True
    there = patiently(lambda: run.store.find(named.key))
    return there is not None and there.bytes == named.bytes


def _has_objects(run: Run, found: FoundCommit) -> bool:
    """Whether what an attempt names around the run stands there: another may have overwritten it."""
    try:
        rows = commit_of(run, found.record.unit, found.key, found.data).rows
    except Damaged:
        return False
    named = [(row["key"], row["sha256"]) for row in rows if row["sha256"] is not None]
    return all(stands(run, key, sha256) for key, sha256 in named)


def read_found(run: Run, unit: int, generation: int, key: str) -> FoundCommit:
    """One commit by its key. Raises `ObjectMissing` or `Damaged`."""

    def found(data: bytes) -> FoundCommit:
        return FoundCommit(key, generation, record_of(run, unit, key, data), data, run.layout)

    return read_whole(run.store, key, found)
