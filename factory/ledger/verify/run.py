"""Check a run against its own records: every object, every hash, every count."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from factory.errors import Damaged, ObjectMissing, RunMismatch
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.laid_out import LayOut, not_laid_out
from factory.ledger.manifest import manifest_sequences
from factory.ledger.plan import ListDigest, Plan, read_plan
from factory.ledger.run import Run, open_run
from factory.ledger.units.commits import commit_names
from factory.ledger.units.strikes import read_strikes
from factory.ledger.verify.manifests import Manifests
from factory.ledger.verify.segment import SegmentCheck, true_strays
from factory.ledger.verify.unit import Check, no_check


@dataclass
class Verification:
    """What was looked at and what is wrong."""

    units: int = 0
    rows: int = 0
    """Of data: pairs, where the stage makes such."""
    open_units: int = 0
    sealed: bool = False
    partial: bool | None = None
    """Whether the newest manifest that can be read is a snapshot; None where nothing is sealed."""
    damages: list[str] = field(default_factory=list)
    broken: dict[int, list[str]] = field(default_factory=dict)
    """Units that `repair` opens again, each with the keys of its damaged data."""


CheckDerived = Callable[[Run], Iterator[str]]
"""What a stage knows of what is derived from its manifests: what is amiss. One that lacks is not."""


def nothing_derived(run: Run) -> Iterator[str]:
    """Of a stage that derives nothing, or is not known here."""
    return iter(())


def verify(
    run: Run,
    check: Check = no_check,
    laid_out: LayOut | None = None,
    derived: CheckDerived = nothing_derived,
) -> Verification:
    """Read everything back, each commit once; never raises for damage, which is listed instead.

    What the stage knows: `check` of its units, `laid_out` of what it lays out for readers, `derived` of
    what it derives.
    """
    result = Verification()
    try:
        open_run(run.store)
        # Before the plan: beside a living run a manifest may be of a longer one than was read.
        sequences = manifest_sequences(run)
        plan = read_plan(run)
        read_strikes(run.store)
    except (Damaged, ObjectMissing, RunMismatch) as error:
        result.damages.append(str(error))
        return result
    result.damages += [*_check_plan(plan), *_check_numbers(run)]
    if result.damages:
        return result
    book, manifests = Book(run, plan), Manifests(run, plan, sequences)
    if manifests.heads:
        result.sealed = True
        result.partial = manifests.heads[max(manifests.heads)].partial
    for segment in book.segments:
        rolled_up = keys.segment_units(segment).stop <= manifests.whole_units
        checked = SegmentCheck(book, segment, must_be_rolled_up=rolled_up, check=check)
        manifests.check_segment(segment, checked.contents)
        result.units += checked.units
        result.rows += checked.rows
        result.damages += checked.damages
        result.broken |= checked.broken
    result.open_units = len(plan.units) - result.units
    result.damages += [*_check_strays(book), *derived(run), *manifests.finish()]
    if laid_out is not None and not result.damages:
        # Of a manifest that is damaged nothing could be said.
        result.damages += not_laid_out(run, laid_out)
    if not manifests.heads and not result.open_units:
        result.damages += _check_never_sealed(run)
    return result


def _check_strays(book: Book) -> Iterator[str]:
    """Commits beyond the plan's last segment; those within it are found with their segment."""
    beyond = (
        n for n in commit_names(book.run.store) if keys.segment_of(n.unit) not in book.segments
    )
    for name in true_strays(book.run, list(beyond)):
        yield f"{book.run.uri}/{keys.commit(name.unit, name.generation)}: unit is not in the plan"


def _check_never_sealed(run: Run) -> Iterator[str]:
    parts = any(keys.is_manifest_part(info.key) for info in run.store.list(keys.MANIFESTS))
    # A living run may have sealed since.
    if parts and not manifest_sequences(run):
        yield (
            f"{run.uri}/{keys.manifest(0)}: parts of a manifest are there, it is not: lost, or a start "
            f"was killed while it sealed; run {run.layout.stage} or seal"
        )


def _check_plan(plan: Plan) -> Iterator[str]:
    taken, things = ListDigest(), plan.layout.item + "s"
    for sequence, head in enumerate(plan.records):
        where = f"{plan.store.uri}/{keys.plan_head(sequence)}"
        first = plan.records[sequence - 1].units if sequence else 0
        if (head.first_unit, head.units) != (first, first + sum(p.units for p in head.parts)):
            yield f"{where}: its units do not follow those before it"
        for part in head.parts:
            before = taken.count
            try:
                taken.add(plan.read_part(part))
            except (Damaged, ObjectMissing) as error:
                yield str(error)
                return
            if part.units != -(-(taken.count - before) // head.unit_items):
                yield f"{where}: {part.key} holds {taken.count - before} {things}, {part.units} units"
        if (taken.value, taken.count) != (head.digest, head.items):
            yield f"{where}: its {things} are not those of the plan"


def _check_numbers(run: Run) -> Iterator[str]:
    """Retries and strikes are numbered from 0 without a gap."""
    for prefix in (keys.RETRIES, keys.STRIKES):
        numbers: dict[str, list[int]] = {}
        for info in run.store.list(prefix):
            folder, _, name = info.key.rpartition("/")
            if name.removesuffix(".json").isdecimal():
                numbers.setdefault(folder, []).append(int(name.removesuffix(".json")))
        for folder, found in numbers.items():
            missing = sorted(set(range(max(found))) - set(found))
            if missing:
                yield f"{run.uri}/{folder}: number {missing[0]} is missing"
