"""Check one unit: its commit against the plan, its data against its commit."""

from collections.abc import Callable, Iterator

from factory.errors import Damaged, ObjectMissing
from factory.ledger import keys
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.ledger.units.attempts import FoundCommit, items_of
from factory.ledger.units.commits import Commit, commit_of
from factory.storage.patience import PART, check_named, patiently, read_named
from schemas.ledger.commit import DataFile

Check = Callable[[Run, list[Row], Commit, bytes | None], Iterator[tuple[str, str]]]
"""What a stage knows of its own units: of a run, a unit's items, its commit and its data, what is amiss,
each with the key that it is amiss at (none: the commit's). Data is None where none is kept.
"""


def no_check(
    run: Run, items: list[Row], commit: Commit, data: bytes | None
) -> Iterator[tuple[str, str]]:
    """Of a stage that is not known here."""
    return iter(())


def check_unit(
    run: Run, plan: Plan, found: FoundCommit, check: Check = no_check
) -> tuple[int, list[str], list[str]]:
    """How many rows of data a unit holds, what is wrong with it, and keys of damaged data."""
    unit, record = found.record.unit, found.record
    where = f"{run.uri}/{found.key}"
    try:
        commit = commit_of(run, unit, found.key, found.data)
    except Damaged as error:
        return 0, [str(error)], []
    damages: list[str] = []
    damaged: list[str] = []
    if record.recipe_hash != run.recipe_hash:
        damages.append(f"{where}: made with another recipe")
    if set(record.tally.total) - set(run.layout.counts):
        damages.append(f"{where}: counts what its stage does not")
    data, lost = None, False
    if record.data is not None:
        try:
            data = _data(run, unit, record.data)
        except Damaged as error:
            damages.append(str(error))
            damaged.append(record.data.key)
            lost = True
    if not lost:
        named = dict(_check_named(run, commit))
        damaged += [f"{keys.AROUND}{key}" for key in named]
        said = [("", what) for what in named.values()]
        said += check(run, items_of(run, plan, found), commit, data)
        damages += [f"{run.uri}/{key or found.key}: {what}" for key, what in said]
    return record.data.rows if record.data and not lost else 0, damages, damaged


def _check_named(run: Run, commit: Commit) -> Iterator[tuple[str, str]]:
    """Of what outcomes name beside the run, what does not stand at its key, and how."""
    for row in commit.rows if run.layout.named else ():
        if row["sha256"] is None:
            continue
        what = f"not the bytes that unit {commit.record.unit} names at {row['key']!r}"
        try:
            size = row.get("bytes") or 0
            if size > PART:
                _check_size(run, row["key"], size, what)
                check_named(run.place, row["key"], row["sha256"], size, what)
            else:
                read_named(run.place, row["key"], row["sha256"], what)
        except Damaged as error:
            yield row["key"], str(error)
        except ObjectMissing:
            yield row["key"], f"names {row['key']!r}, not there"


def _check_size(run: Run, key: str, size: int, what: str) -> None:
    """Parts say nothing of what lies behind the last of them."""
    there = patiently(lambda: run.place.find(key))
    if there is None:
        raise ObjectMissing(key)
    if there.bytes != size:
        raise Damaged(what)


def _data(run: Run, unit: int, file: DataFile) -> bytes:
    where = f"{run.uri}/{file.key}"
    try:
        what = f"{where}: not the bytes that unit {unit} committed"
        return read_named(run.store, file.key, file.sha256, what)
    except ObjectMissing:
        raise Damaged(f"{where}: named by unit {unit}, not there") from None
