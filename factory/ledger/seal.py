"""Seal a run: the list of its commits, by content, that readers use and nothing else."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from factory.errors import (
    Damaged,
    EditmillError,
    NeedsRepair,
    ObjectMissing,
    RunMismatch,
    StorageRefused,
)
from factory.ledger import keys
from factory.ledger.book import READERS, Book
from factory.ledger.lines import write_lines
from factory.ledger.manifest import (
    manifest_bytes,
    manifest_sequences,
    part_lines,
    read_manifest,
)
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run, open_run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.ledger.units.commits import Commit
from factory.storage.patience import patiently, read_whole, write_once
from factory.storage.protocol import ObjectInfo
from schemas.ledger.commit import LedgerLine, Manifest, Part, StoredObject, UnitLine

SAMPLE_OF = 100
"""Of so many data objects of a segment, sealing reads one and compares its hash."""

Finish = Callable[[Run, Iterator[Commit]], Iterable[tuple[str, bytes]]]
"""What a stage makes of all its outcomes: objects, each with a name such as `index.json`, of the commits
that count, in unit order. They are taken one by one, so that a long run's need not fit into memory.

A function of the outcomes alone, so that whoever seals again makes the same bytes.
"""


class Incomplete(EditmillError):
    """Units of the plan are still open, so there is no whole dataset to seal."""


def seal(
    run: Run,
    plan: Plan,
    *,
    partial: bool = False,
    book: Book | None = None,
    finish: Finish | None = None,
    left_out: dict[int, str] | None = None,
) -> tuple[int, Manifest]:
    """Write the manifest of what is committed; sealing the same content again writes nothing.

    `finish` is what the stage makes of all outcomes; a stage that has one must be sealed with it.

    Returns its sequence number too. Where another driver has extended the plan and sealed that, it
    is a manifest of the longer plan. Raises `Incomplete` while units are open, unless `partial`,
    which writes a snapshot marked so; `NeedsRepair` where a data object that a commit names is missing
    or of another size, or one of a sample holds other bytes, or a unit of the newest manifest is lost: a
    snapshot leaves such units out and says so in `left_out`, each with what is wrong;
    `StorageRefused` where a listing lacks what is there;
    `RunMismatch` where the run or its plan is no longer the one that was opened.
    """
    if run.layout.finishes and finish is None:
        raise RunMismatch(
            f"{run.uri}: a run of `{run.layout.stage}` is sealed by the program that has this stage"
        )
    book = book or Book(run, plan)
    while True:
        # First, before anything is read: a manifest then lists all that those before it list.
        sequence, newest = _next(run)
        now = _unchanged(run, plan)
        longer = {head.digest for head in now.records[len(plan.records) :]}
        if newest is None or newest.plan_digest not in longer:
            now = replace(now, records=plan.records)
        if (now.records, now.retries) != (book.plan.records, book.plan.retries):
            book = Book(run, now)
        book.leave_out = partial
        manifest = _list(book, 0 if partial else len(plan.units), finish)
        if left_out is not None:
            left_out |= book.left_out
        if manifest == newest:
            return sequence - 1, manifest
        if newest is not None:
            must_list_all_of(newest, manifest, book)
        data = manifest_bytes(run, manifest)
        if write_once(run.store, keys.manifest(sequence), data) == data:
            return sequence, manifest
        # Another sealer was there first, and may list what could not be seen here yet.


def _list(book: Book, least: int, finish: Finish | None) -> Manifest:
    """The manifest of what is committed; its parts and the roll-ups are written.

    Raises `Incomplete` where one of so many first units is open.
    """
    run, plan = book.run, book.plan
    missing = book.committed()[:least].count(0)
    if missing:
        raise Incomplete(
            f"{run.uri}: {missing} of {least} units are not committed; rerun {run.layout.stage}, "
            "or seal --partial for a snapshot"
        )
    for segment in book.segments:
        book.roll_up(segment)
    listed = _DataListing(run)
    parts: list[Part] = []
    units = items = 0
    counts = dict.fromkeys(run.layout.counts, 0)
    for segment in book.segments:
        lines = book.lines_of(segment)
        if not lines:
            continue
        damaged = listed.check(lines)
        if damaged and not book.leave_out:
            raise NeedsRepair(next(iter(damaged.values())))
        book.left_out |= damaged
        lines = [line for line in lines if line.unit not in damaged]
        for line in lines:
            units += 1
            items += plan.size(line.unit)
            for name in counts:
                counts[name] += line.counts[name]
        parts.append(_write_part(run, segment, lines))
    return Manifest(
        recipe_hash=run.recipe_hash,
        plan_digest=plan.record.digest,
        partial=units < len(plan.units),
        units=units,
        items=items,
        counts=counts,
        parts=tuple(parts),
        objects=write_finish(book, finish) if finish else (),
    )


def write_finish(book: Book, finish: Finish) -> tuple[StoredObject, ...]:
    """Make and store what a manifest names besides its units, by content."""
    stored = []
    for name, data in finish(book.run, _whole_commits(book)):
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.finish(name, sha256)
        patiently(lambda key=key, data=data: book.run.store.put(key, data))  # type: ignore[misc]
        stored.append(StoredObject(key=key, sha256=sha256, bytes=len(data)))
    return tuple(stored)


def _whole_commits(book: Book) -> Iterator[Commit]:
    """All commits that count, in unit order, read ahead by threads."""

    def read(line: LedgerLine) -> Commit:
        return whole_commit(book.run, find_commit(book.run, book.plan, line.unit, line))

    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[Future[Commit]] = deque()
        for line in (one for one in book.lines() if one.unit not in book.left_out):
            ahead.append(pool.submit(read, line))
            if len(ahead) > 2 * READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _next(run: Run) -> tuple[int, Manifest | None]:
    """The number of the next manifest, and the one before it, if it can be read."""
    sequences = manifest_sequences(run)
    if not sequences:
        return 0, None
    try:
        return sequences[-1] + 1, read_manifest(run, sequences[-1])
    except Damaged:
        return sequences[-1] + 1, None


def _unchanged(run: Run, plan: Plan) -> Plan:
    """The plan as it is now, which may be longer, or have units opened again.

    On a store with weak conditional writes two first drivers may both have believed they began:
    raises `RunMismatch` where this one's word does not stand.
    """
    now = read_plan(run)
    recipe = open_run(run.store).recipe_hash
    if (recipe, now.records[: len(plan.records)]) != (run.recipe_hash, plan.records):
        raise RunMismatch(
            f"{run.uri}: another driver began this run at the same moment, with another recipe or "
            "list, and its word stands; choose another --out, or run with what stands there"
        )
    return now


class _DataListing:
    """Looks up data objects by one listing, in unit order, instead of one request for each."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._listing = iter(run.store.list(keys.data_folder(run.layout.stage)))
        self._next = next(self._listing, None)

    def check(self, lines: Sequence[UnitLine]) -> dict[int, str]:
        """Units of which a data object is missing or of another size, or, in a sample of them that is
        read, of other bytes; each with what is wrong.
        """
        damaged: dict[int, str] = {}
        named = ((key, size, line.unit) for line in lines for key, _, size in line.objects)
        for key, size, unit in sorted(named):
            while self._next is not None and self._next.key < key:
                self._next = next(self._listing, None)
            there = self._next
            if there is None or there.key != key:
                # Its commit may be younger than this page of the listing.
                there = self._find(key)
            if there is None or there.bytes != size:
                got = f"{there.bytes} bytes" if there else "none"
                damaged[unit] = (
                    f"{self.run.uri}/{key}: unit {unit}'s commit names {size} bytes, got {got}"
                )
        with ThreadPoolExecutor(READERS) as pool:
            some = sample(line for line in lines if line.unit not in damaged)
            for line, what in zip(some, pool.map(self._read, some), strict=True):
                if what:
                    damaged[line.unit] = what
        return damaged

    def _read(self, line: UnitLine) -> str:
        key = line.data_key or ""

        def check(data: bytes) -> None:
            got = hashlib.sha256(data).hexdigest()
            if got != line.data_sha256:
                raise Damaged(
                    f"{self.run.uri}/{key}: unit {line.unit}'s commit names bytes of sha256 "
                    f"{line.data_sha256}, got {got}; `editmill verify` reads the others, too"
                )

        try:
            read_whole(self.run.store, key, check)
        except Damaged as error:
            return str(error)
        return ""

    def _find(self, key: str) -> ObjectInfo | None:
        return patiently(lambda: self.run.store.find(key))


def sample(lines: Iterable[UnitLine]) -> list[UnitLine]:
    """One in `SAMPLE_OF` of the lines that have data, at least one; the same each time."""
    made = [line for line in lines if line.data_key]
    made.sort(key=lambda line: hashlib.sha256(str(line.unit).encode()).digest())
    return made[: -(-len(made) // SAMPLE_OF)]


def manifest_part(
    run: Run, segment: int, lines: Iterable[LedgerLine | UnitLine]
) -> tuple[Part, bytes]:
    """The part of a manifest that lists these units of a segment, and its bytes."""
    rows = [line.content if isinstance(line, LedgerLine) else line for line in lines]
    data = write_lines(run.layout, UnitLine, rows)
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.manifest_part(keys.segment_name(segment), sha256)
    return Part(key=key, sha256=sha256, units=len(rows)), data


def _write_part(run: Run, segment: int, lines: Iterable[LedgerLine]) -> Part:
    part, data = manifest_part(run, segment, lines)
    patiently(lambda: run.store.put(part.key, data))
    return part


def must_list_all_of(earlier: Manifest, later: Manifest, book: Book) -> None:
    """Compare a manifest that is to be written with the newest one, where their parts differ.

    A unit that was opened again may be missing until it is made anew. Raises `StorageRefused` where a
    unit's commit is there and was not listed, `Damaged` where it is gone.
    """
    run, plan = book.run, book.plan
    same = {part.key for part in later.parts}
    for part in (part for part in earlier.parts if part.key not in same):
        units = [line.unit for line in part_lines(run, part)]
        there = {line.unit for line in book.lines_of(keys.segment_of(units[0]))} if units else ()
        missing = (unit for unit in units if unit not in there and not plan.generation(unit))
        for unit in (unit for unit in missing if unit not in book.left_out):
            key = keys.commit(unit)
            try:
                find_commit(run, plan, unit)
            except ObjectMissing:
                raise NeedsRepair(
                    f"{run.uri}/{key}: unit {unit} is in the newest manifest, its commit is not there "
                    f"whole; run {run.layout.stage} to make it again"
                ) from None
            raise StorageRefused(
                f"{run.uri}/{key}: a listing must show every object, it lacks this one, which is there; "
                "this store cannot be used"
            )
