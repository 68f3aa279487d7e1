"""Pairs taken out of a sealed run: by a picture's hash, as near duplicates, as pictures of a benchmark.

What is left is a run of its own by the same recipe, as a selection is, and copies the other run's pairs. A
candidate that is taken out has failed, its scores are gone and its reason begins with `purged`: no other
gates bring it back.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice

from PIL import Image

from factory.errors import InputError
from factory.ledger import keys
from factory.ledger.book import READERS
from factory.ledger.manifest import unit_lines
from factory.ledger.plan import Row
from factory.ledger.run import Run
from factory.ledger.units.outcomes import Outcomes
from factory.pairs.cleaning.likeness import Fingerprints, alike, fingerprint
from factory.pairs.cleaning.purged import PURGED, Name
from factory.pairs.generate import outcomes_of, triplets_of
from factory.pairs.reselection import Candidates
from factory.pairs.sheet import opened, unit_pairs
from factory.storage.protocol import ObjectStore
from factory.untrusted_image.decoder import ImageDecoder, ImageRefused
from schemas.candidate import Candidate, Scores, Verdict
from schemas.ledger.commit import Manifest
from schemas.pair import Pair

BY_HASH = f"{PURGED}: a picture's hash is listed"
DUPLICATE = f"{PURGED}: near duplicate"
BENCHMARK = f"{PURGED}: like a picture of a benchmark"
UNITS_AT_ONCE = 256
"""That are looked at before any more are listed."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_hashes(lines: Iterable[str], name: str) -> frozenset[str]:
    """SHA-256 of files in hex, one a line and first in it, as `sha256sum` writes; `#` begins a comment.

    Raises `InputError` for a line that has none.
    """
    found = set()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if not _SHA256.fullmatch(words[0].lower()):
            raise InputError(
                f"{name}, line {number}: must begin with 64 hex digits of SHA-256, got {words[0][:80]!r}"
            )
        found.add(words[0].lower())
    return frozenset(found)


@dataclass
class Benchmark:
    """Pictures that no pair may look like."""

    prints: Fingerprints
    names: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    """Why some objects could not be read, by name."""

    def add(self, store: ObjectStore) -> None:
        """Take in all pictures of a folder or prefix, in a confined decoder."""
        decoder = ImageDecoder()
        try:
            for info in store.list():
                name = f"{store.uri}/{info.key}"
                try:
                    pixels = decoder.decode(store.get(info.key), name)
                except ImageRefused as error:
                    self.unread[name] = str(error)
                    continue
                self.prints.add(fingerprint(Image.fromarray(pixels)))
                self.names.append(name)
        finally:
            decoder.close()


@dataclass(frozen=True)
class PairLooks:
    """What is compared of a pair."""

    name: Name
    hashes: frozenset[str]
    """SHA-256 of both stored pictures."""
    prints: tuple[int, int] | None
    """Fingerprints of the original and the edited picture; None where nothing asks for them."""


@dataclass
class Purge:
    """What is taken out of a run, and the pairs that it meets."""

    hashes: frozenset[str] = frozenset()
    duplicates: bool = False
    benchmark: Benchmark | None = None
    near: int = 4
    pairs: int = 0
    """Met so far."""
    reasons: dict[Name, str] = field(default_factory=dict)
    """Why a candidate is taken out."""
    met: set[str] = field(default_factory=set)
    """Of the hashes: those that some picture had."""
    _after: list[int] = field(default_factory=list)
    """Fingerprints of the edited pictures of the pairs that stay, in the order of `_before`."""

    @cached_property
    def _before(self) -> Fingerprints:
        return Fingerprints(self.near)

    def look(self, pair: Pair) -> PairLooks:
        """What of a pair must be known; several threads may ask, it is where the time goes."""
        stored = [image.bytes for image in (pair.original_image, pair.edited_image)]
        hashes = frozenset(hashlib.sha256(data).hexdigest() for data in stored)
        prints = None
        if (self.duplicates or self.benchmark) and not hashes & self.hashes:
            prints = (fingerprint(opened(stored[0])), fingerprint(opened(stored[1])))
        return PairLooks((pair.triplet_id, pair.index), hashes, prints)

    def meet(self, looks: PairLooks) -> None:
        """Judge one pair, in the order of the run: of near duplicates the first stays."""
        self.pairs += 1
        reason = self._reason(looks)
        if reason:
            self.reasons[looks.name] = reason

    def _reason(self, looks: PairLooks) -> str | None:
        listed = self.hashes & looks.hashes
        if listed:
            self.met |= listed
            return BY_HASH
        if looks.prints is None:
            return None
        before, after = looks.prints
        if self.benchmark is not None:
            for one in looks.prints:
                number = next(self.benchmark.prints.alike(one), None)
                if number is not None:
                    return f"{BENCHMARK}, {self.benchmark.names[number]}"
        if not self.duplicates:
            return None
        for number in self._before.alike(before):
            if alike(self._after[number], after, self.near):
                return DUPLICATE
        self._before.add(before)
        self._after.append(after)
        return None

    def counts(self) -> dict[str, int]:
        """Pairs that are taken out, by reason."""
        kinds = {BY_HASH: "by hash", DUPLICATE: "near duplicates", BENCHMARK: "like a benchmark's"}
        found = Counter(
            next(words for kind, words in kinds.items() if reason.startswith(kind))
            for reason in self.reasons.values()
        )
        return {words: found[words] for words in kinds.values()}


def looks_of(
    run: Run, manifest: Manifest, look: Callable[[Pair], PairLooks]
) -> Iterator[PairLooks]:
    """Of every pair of a sealed run, in unit order, looked at by several threads. Raises `Damaged`."""
    lines = unit_lines(run, manifest)
    with ThreadPoolExecutor(max(READERS, os.cpu_count() or 1)) as pool:
        while some := list(islice(lines, UNITS_AT_ONCE)):
            found = pool.map(lambda line: [look(pair) for pair in unit_pairs(run, line)], some)
            yield from chain.from_iterable(found)


def must_be_for_purge(store: ObjectStore) -> None:
    """Raises `InputError` where a run lies that was not begun by choosing among another's candidates."""
    if store.find(keys.RUN) and not store.find(keys.SELECTED):
        raise InputError(
            f"{store.uri}: holds a run that `purge` did not begin; choose another place"
        )


class Purger:
    """Copies a unit of another run without what is taken out."""

    rows_run = 0
    idle_s: float | None = None

    def __init__(self, candidates: Candidates, reasons: Mapping[Name, str]) -> None:
        self.candidates = candidates
        self.reasons = reasons

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The candidates of these triplets and their pairs, but for those that are taken out."""
        units, triplets = self.candidates.units_of(unit, items), triplets_of(items)
        known, environment = self.candidates.of(units)
        wanted = {triplet.triplet_id for triplet in triplets}
        rows = [self._judged(row) for name, row in known.items() if name[0] in wanted]
        stored = self.candidates.accepted(units, known)
        kept = [
            stored[row.triplet_id, row.index] for row in rows if row.verdict == Verdict.ACCEPTED
        ]
        return outcomes_of(triplets, rows, kept, environment)

    def _judged(self, row: Candidate) -> Candidate:
        reason = self.reasons.get((row.triplet_id, row.index))
        if reason is None:
            return row
        gone = dict.fromkeys(Scores.model_fields)
        return row.model_copy(
            update={"verdict": Verdict.FAILED, "reason": reason, "borderline": False} | gone
        )

    def close(self) -> None:
        """Nothing is held."""
