"""A later manifest lists all that an earlier one lists; what it lacks was not shown, or is lost."""

from factory.errors import Damaged, ObjectMissing, StorageRefused
from factory.ledger import keys
from factory.ledger.attempts import find_commit
from factory.ledger.book import Book
from factory.ledger.sealed import part_lines
from factory.storage.patience import patiently
from schemas.commit import Manifest


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
        for unit in (unit for unit in units if unit not in there and not plan.generation(unit)):
            key = keys.commit(unit)
            try:
                patiently(lambda unit=unit: find_commit(run, plan, unit))  # type: ignore[misc]
            except ObjectMissing:
                raise Damaged(
                    f"{run.uri}/{key}: unit {unit} is in the newest manifest, its commit is not there "
                    "whole; run generate to make it again"
                ) from None
            raise StorageRefused(
                f"{run.uri}/{key}: a listing must show every object, it lacks this one, which is there; "
                "this store cannot be used"
            )
