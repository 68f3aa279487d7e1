"""Garbage: objects that no commit, roll-up, plan or manifest names, and how they are removed.

What lost attempts leave costs room and nothing else. Only a run that is sealed whole is looked at,
only objects under names that this program gives, and only those that are old by the store's own
times: a worker that was thought dead may still be writing. Just before anything is removed plan and
manifests are read again: whoever extended or sealed the run meanwhile may name what was garbage.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from factory.deeds import PROBES
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.manifest import manifest_sequences, part_lines, read_manifest
from factory.ledger.named import read_intent, stands
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run
from factory.ledger.seal import Incomplete
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectInfo, ObjectStore, Upload
from schemas.ledger.commit import LedgerLine, Manifest

LEAST_HOURS = 24.0
"""Nothing younger is ever removed."""
LEAST_ATTEMPTS = 10
"""Nor what is younger than so many of the run's longest attempts."""
LOOK_AGAIN_EVERY = 100
"""Objects are removed between two looks at whether the run has gone on."""


@dataclass(frozen=True)
class Garbage:
    """An object that nothing names."""

    key: str
    bytes: int
    why: str


@dataclass
class Collection:
    """What was found, and what of it was removed."""

    found: list[Garbage] = field(default_factory=list)
    uploads: list[tuple[ObjectStore, Upload]] = field(default_factory=list)
    """With the store that each was begun in."""
    young: int = 0
    """Objects that nothing names, too young to be sure of."""
    removed: int = 0
    """Objects and uploads."""
    least_hours: float = LEAST_HOURS
    """How old something had to be."""

    @property
    def bytes(self) -> int:
        """Of the objects found."""
        return sum(one.bytes for one in self.found)


def collect(
    run: Run, plan: Plan, *, delete: bool = False, older_than_hours: float = 0.0
) -> Collection:
    """List the garbage that is old enough; remove it on demand.

    That is the most of the hours given, `LEAST_HOURS`, and `LEAST_ATTEMPTS` times the longest of the
    attempts that count: a worker that was given up may take as long as any other.

    Raises `Incomplete` where the run is not sealed whole, `Damaged` where it cannot be read.
    """
    sequences = manifest_sequences(run)
    manifests = [read_manifest(run, sequence) for sequence in sequences]
    newest = manifests[-1] if manifests else None
    book = Book(run, plan)
    whole = newest and not newest.partial and newest.plan_digest == plan.record.digest
    if not whole or book.committed().count(0):
        raise Incomplete(f"{run.uri}: gc needs a run that is sealed whole; finish it first")
    longest = max((line.seconds for line in book.lines()), default=0.0)
    hours = max(LEAST_HOURS, older_than_hours, LEAST_ATTEMPTS * longest / 3600)
    latest = run.store.now() - 3600 * hours
    collection = Collection(least_hours=hours)
    for info, why in _unnamed(book, manifests):
        if info.modified > latest:
            collection.young += 1
        else:
            collection.found.append(Garbage(info.key, info.bytes, why))
    collection.uploads = [
        (store, one) for store in _stores(run) for one in store.uploads() if one.begun <= latest
    ]
    if delete:
        collection.removed = _remove(run, plan, sequences, collection, latest)
    return collection


def _stores(run: Run) -> list[ObjectStore]:
    """In which this run's uploads may be told from others': a bucket has its owner's, too, around it."""
    around = [run.place] if run.layout.named and isinstance(run.place, LocalStore) else []
    return [run.store, *around]


def _remove(
    run: Run, plan: Plan, sequences: list[int], collection: Collection, latest: float
) -> int:
    removed = 0
    for number, garbage in enumerate(collection.found):
        store, key = run.locate(garbage.key)
        # What lies around the root a retry adopts as it stands, with its age.
        if number % LOOK_AGAIN_EVERY == 0 or store is not run.store:
            _must_be_unchanged(run, plan, sequences)
        # A slow worker may have stored the same bytes again since the listing, and may count on them.
        now = store.find(key)
        if now is not None and now.modified <= latest:
            store.delete(key)
            removed += 1
    for store, upload in collection.uploads:
        store.abort(upload)
        removed += 1
    return removed


def _must_be_unchanged(run: Run, plan: Plan, sequences: list[int]) -> None:
    """Raises `Incomplete` where the run has gone on since garbage was looked for."""
    now = read_plan(run)
    same_plan = (now.records, now.retries) == (plan.records, plan.retries)
    if not same_plan or manifest_sequences(run) != sequences:
        raise Incomplete(
            f"{run.uri}: gc needs a run that stands still, this one goes on; try later"
        )


def _unnamed(book: Book, manifests: list[Manifest]) -> Iterator[tuple[ObjectInfo, str]]:
    store = book.run.store
    for info in store.list(PROBES):
        yield info, "a trial of the store"
    yield from _unlisted(
        (info for info in store.list(keys.PLANS) if keys.is_plan_part(info.key)),
        {part.key for head in book.plan.records for part in head.parts},
        "a part that no plan names",
    )
    yield from _unlisted(
        (info for info in store.list(keys.MANIFEST_PARTS) if keys.is_manifest_part(info.key)),
        {part.key for manifest in manifests for part in manifest.parts},
        "a part that no manifest names",
    )
    yield from _unlisted(
        (info for info in store.list(keys.FINISHES) if keys.is_finish(info.key)),
        {one.key for manifest in manifests for one in manifest.objects},
        "made when a run was sealed that no manifest names",
    )
    yield from _unlisted(
        (info for info in store.list(keys.SCORES) if keys.is_scores(info.key)),
        {keys.scores(part.key) for manifest in manifests for part in manifest.parts},
        "scores of a part that no manifest names",
    )
    yield from _data(book, manifests)
    if book.run.commits == "sealed":
        yield from _losers(book)


def _unlisted(
    listing: Iterable[ObjectInfo], named: set[str], why: str
) -> Iterator[tuple[ObjectInfo, str]]:
    return ((info, why) for info in listing if info.key not in named)


def _data(book: Book, manifests: list[Manifest]) -> Iterator[tuple[ObjectInfo, str]]:
    """Segment by segment, since a listing is in unit order."""
    stage = book.run.layout.stage
    folder = keys.data_folder(stage)
    ours = (
        info
        for info in book.run.store.list(folder)
        if keys.unit_of_data(stage, info.key) is not None
    )
    for segment, listing in groupby(ours, key=lambda info: _segment(stage, info.key)):
        if segment not in book.segments:
            continue
        lines = {line.unit: line for line in book.lines_of(segment)}
        named = {key for line in lines.values() for key, _, _ in line.objects}
        prefix = keys.manifest_part(keys.segment_name(segment), "").removesuffix(".parquet")
        parts = {p.key: p for m in manifests for p in m.parts if p.key.startswith(prefix)}
        for part in parts.values():
            named |= {key for line in part_lines(book.run, part) for key, _, _ in line.objects}
        for info, why in _unlisted(listing, named, f"{folder[:-1]} of a lost attempt"):
            if book.run.layout.named:
                yield from _meant(book, info, lines)
            yield info, why


def _meant(
    book: Book, intent: ObjectInfo, lines: Mapping[int, LedgerLine]
) -> Iterator[tuple[ObjectInfo, str]]:
    """What an attempt that does not count meant to leave and left, and no outcome names."""
    run, unit = book.run, keys.unit_of_data(book.run.layout.stage, intent.key)
    assert unit is not None
    rows = whole_commit(run, find_commit(run, book.plan, unit, lines.get(unit))).rows
    kept = {row["key"] for row in rows if row["sha256"] is not None}
    for one in read_intent(run, intent.key):
        there = run.place.find(one.key) if one.key not in kept else None
        if there is not None and there.bytes == one.bytes and stands(run, one.key, one.sha256):
            yield replace(there, key=f"{keys.AROUND}{one.key}"), "an object of a lost attempt"


def _segment(stage: str, key: str) -> int:
    return keys.segment_of(keys.unit_of_data(stage, key) or 0)


def _losers(book: Book) -> Iterator[tuple[ObjectInfo, str]]:
    """Attempts beside the one that counts, where every attempt commits under its own name."""
    for segment in book.segments:
        chosen = {
            keys.attempt(line.unit, line.generation, line.attempt)
            for line in book.lines_of(segment)
        }
        for info in book.run.store.list(keys.commits_of(segment)):
            name = keys.commit_name(info.key)
            # Earlier generations stay: manifests of their day list them.
            newest = name and name.generation == book.plan.generation(name.unit)
            if name and name.attempt and newest and info.key not in chosen:
                yield info, "an attempt that was not chosen"
