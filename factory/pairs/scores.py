"""What all candidates of a sealed run scored, a segment an object: whoever chooses anew reads these alone.

    scores/<segment>-<sha>.parquet     of the part of a manifest that has this name

They are derived from the commits that the part lists: sealing lays them down, a lost one is made again,
and whoever makes one makes the same bytes. Rows are in unit order, then by triplet, then by index; seed, p
and guidance of a candidate follow from its name (`factory/pairs/source.py`).
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.errors import Damaged, InputError, ObjectMissing, StorageRefused, first_line
from factory.ledger import keys
from factory.ledger.book import READERS
from factory.ledger.manifest import newest_manifest, part_lines
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.ledger.seal import Incomplete
from factory.ledger.units.attempts import FoundCommit, find_commit, line_of
from factory.storage.patience import patiently, read_whole
from schemas.arrow import arrow_schema, columns_of, file_metadata, read_table, write_table
from schemas.candidate import Candidate, Scores, Verdict
from schemas.ledger.commit import Manifest, Part, UnitLine
from schemas.ledger.layout import GENERATE

SIMILARITIES = tuple(Scores.model_fields)
COLUMNS = ("triplet_id", "index", *SIMILARITIES, "verdict", "reason", "truncated")
"""Of a candidate, as in its commit; a similarity is null where it failed."""
UNIT = "unit"
"""A column beside them."""
REPEATED = ("triplet_id", "verdict", "reason")
"""Columns of text that are read as few values and their numbers: a million strings are slow."""
GROUP_ROWS = 2**18
"""A row group of some 2 MB a column."""


@dataclass(frozen=True)
class ScoredTriplets:
    """The candidates of some triplets, in the order of the plan."""

    units: NDArray[np.int64]
    """(triplets,)"""
    triplet_ids: NDArray[np.object_]
    """(triplets,)"""
    similarities: NDArray[np.float64]
    """(4, triplets, candidates), in the order of `SIMILARITIES`; NaN where a candidate failed."""
    accepted: NDArray[np.bool_]
    """(triplets, candidates): what the run itself kept."""
    failures: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """Why a candidate could not be made, by its place."""

    def __len__(self) -> int:
        return len(self.triplet_ids)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(triplets, candidates)"""
        found: NDArray[np.bool_] = np.isnan(self.similarities[0])
        return found


def sealed_manifest(run: Run) -> Manifest:
    """The newest manifest of a run of pairs. Raises `InputError` where it is none, and `Incomplete`."""
    if run.layout.stage != GENERATE.stage:
        raise InputError(f"{run.uri}: must be a run of `generate`, got one of `{run.layout.stage}`")
    newest = newest_manifest(run)
    if newest is None or not newest[1].units:
        raise Incomplete(f"{run.uri}: not sealed yet; `editmill seal --partial` makes a snapshot")
    return newest[1]


def lay_scores(run: Run, plan: Plan, manifest: Manifest) -> int:
    """Lay down what a manifest's parts lack; how many there were. Raises as reading their commits does."""
    there = {info.key for info in run.store.list(keys.SCORES)}
    lacking = [part for part in manifest.parts if keys.scores(part.key) not in there]
    for part in lacking:
        _lay(run, plan, part)
    return len(lacking)


def check_scores(run: Run) -> Iterator[str]:
    """A `CheckDerived` of `generate`: one that is changed would be counted by."""
    for info in run.store.list(keys.SCORES):
        if not keys.is_scores(info.key):
            continue

        def check(data: bytes, key: str = info.key) -> None:
            try:
                file_metadata(data)
            except (ValueError, OSError) as error:
                raise Damaged(
                    f"{run.uri}/{key}: not the scores of a segment: {first_line(error)}; they are "
                    "derived: remove it, and `editmill seal` lays it down again"
                ) from None

        try:
            read_whole(run.store, info.key, check)
        except Damaged as error:
            yield str(error)
        except ObjectMissing:  # removed since it was listed
            continue


def sealed_scores(run: Run, plan: Plan, manifest: Manifest) -> Iterator[ScoredTriplets]:
    """Of a sealed run, part by part. Raises `Damaged`."""
    for part in manifest.parts:
        yield scores_of(run, plan, part)


def scores_of(run: Run, plan: Plan, part: Part) -> ScoredTriplets:
    """Of one part; laid down first where it is lacking. Raises `Damaged`."""
    key = keys.scores(part.key)
    try:
        return read_whole(run.store, key, partial(_taken, run, key))
    except ObjectMissing:
        return _taken(run, key, _lay(run, plan, part))


def _taken(run: Run, key: str, data: bytes) -> ScoredTriplets:
    wanted = run.recipe.candidates
    try:
        table = read_table([UNIT, *SIMILARITIES, *REPEATED], data, REPEATED)
        if len(table) % wanted:
            raise ValueError(f"must hold {wanted} rows a triplet, got {len(table)} in all")
    except (ValueError, KeyError, OSError) as error:
        raise Damaged(
            f"{run.uri}/{key}: not the scores of a segment: {first_line(error)}; they are derived: "
            "remove it, and `editmill seal` lays it down again"
        ) from None
    shape = (len(table) // wanted, wanted)
    similarities = np.empty((len(SIMILARITIES), *shape))
    for values, name in zip(similarities, SIMILARITIES, strict=True):
        values.flat = table[name].to_numpy()
    texts = {name: table[name].unify_dictionaries().combine_chunks() for name in REPEATED}
    first = pa.array(np.arange(0, len(table), wanted))
    failed = np.flatnonzero(np.isnan(similarities[0]))
    reasons = texts["reason"].take(pa.array(failed)).to_pylist()
    return ScoredTriplets(
        units=table[UNIT].take(first).to_numpy(),
        triplet_ids=np.array(texts["triplet_id"].take(first).to_pylist(), object),
        similarities=similarities,
        accepted=_where(texts["verdict"], Verdict.ACCEPTED).reshape(shape),
        failures={
            divmod(int(at), wanted): reason for at, reason in zip(failed, reasons, strict=True)
        },
    )


def _where(texts: pa.DictionaryArray, value: str) -> NDArray[np.bool_]:
    """Which of some repeated texts are this one."""
    known = np.array(texts.dictionary.to_pylist(), object)
    found: NDArray[np.bool_] = (known == value)[texts.indices.to_numpy()]
    return found


def _lay(run: Run, plan: Plan, part: Part) -> bytes:
    """The bytes of a part's scores, which are stored."""
    tables = list(_tables(run, plan, part_lines(run, part)))
    schema = arrow_schema({UNIT: "int"} | {name: columns_of(Candidate)[name] for name in COLUMNS})
    table = pa.concat_tables(tables).cast(schema) if tables else schema.empty_table()
    data = write_table(
        table,
        {"part": part.key},
        GROUP_ROWS,
        use_dictionary=[UNIT, "triplet_id", "index", "verdict", "reason"],
        use_byte_stream_split=list(SIMILARITIES),
    )
    # A run that may only be read is read: what is derived may be lacking.
    with suppress(StorageRefused):
        patiently(lambda: run.store.put(keys.scores(part.key), data))
    return data


def _tables(run: Run, plan: Plan, lines: list[UnitLine]) -> Iterator[pa.Table]:
    """The candidates of units, in order, read ahead by threads."""

    def read(line: UnitLine) -> pa.Table:
        found = sealed_commit(run, plan, line)
        try:
            table = read_table(COLUMNS, found.data)
        except (ValueError, KeyError, OSError) as error:
            raise Damaged(
                f"{run.uri}/{found.key}: not a whole commit: {first_line(error)}"
            ) from None
        wanted = plan.size(line.unit) * run.recipe.candidates
        indices = np.arange(len(table)) % run.recipe.candidates
        if len(table) != wanted or (table["index"].to_numpy() != indices).any():
            raise Damaged(
                f"{run.uri}/{found.key}: its candidates are not the {wanted} planned ones"
            )
        units = pa.array(np.full(len(table), line.unit))
        return table.add_column(0, UNIT, units).replace_schema_metadata(None)

    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[Future[pa.Table]] = deque()
        for line in lines:
            ahead.append(pool.submit(read, line))
            if len(ahead) > 2 * READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def items_of(plan: Plan, scored: ScoredTriplets) -> list[Row]:
    """The planned triplets of scores, in their order."""
    units = scored.units[np.flatnonzero(np.diff(scored.units, prepend=-1))]
    return [row for unit in units for row in plan.items(int(unit))]


def sealed_commit(run: Run, plan: Plan, line: UnitLine) -> FoundCommit:
    """The commit that a manifest lists, also where its unit was opened again since. Raises `Damaged`."""
    for generation in range(plan.generation(line.unit), -1, -1):
        try:
            found = find_commit(run, plan, line.unit, line, generation)
        except ObjectMissing:
            continue
        if line_of(run, found).content == line:
            return found
    raise Damaged(
        f"{run.uri}/{keys.commit(line.unit)}: unit {line.unit}'s commit is not the sealed one; "
        "`editmill verify` says more"
    )
