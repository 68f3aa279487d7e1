"""Triplets that say nearly the same: of each group only the earliest stays.

MinHash with locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3), by `datasketch`. What is looked up lies in a database on this machine's disk, not in
memory: half a million sketches are a third of a GiB.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from factory.prompt_text import told_text

PERMUTATIONS = 128
"""Of the sketches: a similarity is known to some 0.04."""
FINEST = 0.97
"""Similarity above which sketches of this length have no two bands; more candidates are compared there."""
CACHE_KIB = 16_384
"""Of the database, in memory."""
COMMIT_EVERY = 4096
"""Sketches that are written at once."""


def near_duplicates(
    texts: Iterable[tuple[str, Sequence[str]]], least: float
) -> Iterator[tuple[str, float] | None]:
    """For each text with its name None where it stays; else the name of the earlier one which stays and
    which it nearly repeats, and their similarity as sketched, 0..1.

    A text is several strings; two are near where the Jaccard similarity of their words, each told apart by
    the string that it stands in, is at least `least`. Depends on the texts and their order alone, and holds
    none of them.
    """
    from datasketch import MinHash, MinHashLSH

    # Drawing the permutations takes more than twice as long as a text's sketch by them.
    nothing = MinHash(num_perm=PERMUTATIONS)
    bands = MinHashLSH(threshold=min(least, FINEST), num_perm=PERMUTATIONS).hashranges
    with tempfile.TemporaryDirectory(prefix="editmill-") as folder, _index(folder) as index:
        for place, (name, text) in enumerate(texts):
            sketch = nothing.copy()
            sketch.update_batch(sorted(_words(text)))
            values = sketch.hashvalues
            keys = [_key(number, values[a:b]) for number, (a, b) in enumerate(bands)]
            near = next(_near(index, keys, values, least), None)
            yield near
            if near is None:
                index.executemany("INSERT INTO band VALUES (?, ?)", [(key, place) for key in keys])
                index.execute(
                    "INSERT INTO sketch VALUES (?, ?, ?)", (place, name, values.tobytes())
                )
            if place % COMMIT_EVERY == 0:
                index.commit()


def _index(folder: str) -> "closing[sqlite3.Connection]":
    connection = sqlite3.connect(Path(folder) / "sketches.sqlite")
    # Whatever is lost with this machine is made anew.
    connection.executescript(
        f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};"
        "CREATE TABLE band (key INTEGER, place INTEGER, PRIMARY KEY (key, place)) WITHOUT ROWID;"
        "CREATE TABLE sketch (place INTEGER PRIMARY KEY, name TEXT, hashes BLOB);"
    )
    return closing(connection)


def _key(number: int, hashes: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> int:
    """Of a band: two sketches that are alike in it have the same."""
    digest = hashlib.blake2b(number.to_bytes(2, "big") + hashes.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _near(
    index: sqlite3.Connection,
    keys: list[int],
    values: "np.ndarray[tuple[int], np.dtype[np.uint32]]",
    least: float,
) -> Iterator[tuple[str, float]]:
    """Those with a band in common that are near, the earliest first."""
    marks = ",".join("?" * len(keys))
    found = index.execute(
        f"SELECT DISTINCT place, name, hashes FROM band JOIN sketch USING (place) WHERE key IN ({marks}) "
        "ORDER BY place",
        keys,
    )
    for _, name, hashes in found:
        similarity = float(np.mean(np.frombuffer(hashes, values.dtype) == values))
        if similarity >= least:
            yield name, similarity


def _words(text: Sequence[str]) -> set[bytes]:
    return {
        f"{part}:{word}".encode()
        for part, string in enumerate(text)
        for word in told_text(string).split()
    }
