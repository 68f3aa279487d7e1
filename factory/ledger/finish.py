"""What a stage makes of all its outcomes when a run is sealed: an index, a table, a card."""

import hashlib
from collections.abc import Callable, Iterator, Mapping

from factory.ledger import keys
from factory.ledger.attempts import find_commit, whole_commit
from factory.ledger.book import Book
from factory.ledger.commits import Commit
from factory.ledger.run import Run
from factory.storage.patience import patiently
from schemas.commit import StoredObject

Finish = Callable[[Run, Iterator[Commit]], Mapping[str, bytes]]
"""Objects by name, such as `index.json`, of the commits that count, in unit order.

A function of the outcomes alone, so that whoever seals again makes the same bytes.
"""


def write_finish(book: Book, finish: Finish) -> tuple[StoredObject, ...]:
    """Make and store what a manifest names besides its units, by content."""
    stored = []
    for name, data in sorted(finish(book.run, _commits(book)).items()):
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.finish(name, sha256)
        patiently(lambda key=key, data=data: book.run.store.put(key, data))  # type: ignore[misc]
        stored.append(StoredObject(key=key, sha256=sha256, bytes=len(data)))
    return tuple(stored)


def _commits(book: Book) -> Iterator[Commit]:
    for line in book.lines():
        found = find_commit(book.run, book.plan, line.unit, line)
        yield whole_commit(book.run, found)
