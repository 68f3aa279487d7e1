"""A root of encoded latents in a store: whose it is, its units and their commits, its seal.

    dataset/<sha256, 16 hex>.safetensors       the dataset's rows, see `index.py`
    ENCODE.json                        written once: what is encoded, and how it is cut into units
    data/<unit>-<sha256, 16 hex>.safetensors   a unit's latents and contexts, named by their content
    units/<unit>.json                  the unit's commit, written once, after its data
    LATENTS.json                       all units, written last; readers use nothing else

Killed at any byte, a rerun finds the commits and makes the rest. Two workers that make one unit store two
files of data at most, and the first commit counts.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from factory.dataset.index import FOLDER, Index, instruction_name, store_index
from factory.errors import Damaged, InputError, RunMismatch
from factory.ledger.run import differing_fields
from factory.storage.key_rules import PROBES
from factory.storage.patience import patiently, write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import find_stamped
from schemas.fit import Columns, Law
from schemas.latents import (
    EncodedUnit,
    EncodingEnvironment,
    EncodingRecord,
    LatentsLaw,
    LatentsRecord,
    UnitRecord,
)
from schemas.record import Record
from schemas.stamped import to_stamped_json

HEAD = "ENCODE.json"
SEAL = "LATENTS.json"
UNITS = "units/"
DATA = "data/"
MOST_ROWS = 1024
LEAST_ROWS = 16
UNIT_PIXELS = 2**26
"""Pixels of a unit's pictures, counted once a row: some 100 MB of latents at a factor of 8."""
READERS = 16
NOTHING = bytes(16)
"""Stands for a dropped instruction, where that is not the empty one."""

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Unit:
    """Rows that are encoded and committed at once."""

    number: int
    """Its place in the dataset."""
    file: str
    """The dataset's file."""
    first: int
    """Its first row, within the file."""
    rows: int
    """How many from there."""
    speaks: tuple[int, ...]
    """Rows of it that are the dataset's first with their instruction: the unit holds its context."""


def latents_law(law: Law, columns: Columns, dataset: str) -> LatentsLaw:
    """What of a training's law decides latents. Raises `InputError` where weights are not pinned."""
    for source in filter(None, (law.model, law.autoencoder)):
        if not source.files:
            raise InputError(f"law: {source.source}: files must be pinned, got none")
    other = ("unet/", "scheduler/", *(("vae/",) if law.autoencoder else ()))
    return LatentsLaw(
        model={name: sha for name, sha in law.model.files.items() if not name.startswith(other)},
        autoencoder=law.autoencoder.files if law.autoencoder else None,
        dtype="float64" if law.dtype == "float64" else "float32",
        size_px=law.size_px,
        buckets=law.buckets,
        columns=columns,
        dataset=dataset,
    )


def begin_encoding(store: ObjectStore, law: LatentsLaw, index: Index) -> EncodingRecord:
    """Write whose latents this root holds, or find that they are these.

    Raises `RunMismatch` where it holds something else, naming what differs.
    """
    found = find_encoding(store)
    if found is None:
        ours = (PROBES, FOLDER)
        stranger = next((o.key for o in store.list() if not o.key.startswith(ours)), None)
        if stranger not in (None, HEAD):
            raise RunMismatch(
                f"{store.uri}: must be empty or hold latents, got {stranger!r} and no {HEAD}"
            )
        store_index(store, index)
        rows = max(LEAST_ROWS, min(MOST_ROWS, UNIT_PIXELS // law.size_px**2))
        write_once(store, HEAD, to_stamped_json(EncodingRecord(law=law, unit_rows=rows)))
        found = find_encoding(store)
        assert found is not None
    check_law(store, found.law, law)
    return found


def find_encoding(store: ObjectStore) -> EncodingRecord | None:
    """Whose latents a root holds, or None. Raises `Damaged`."""
    return _read(store, HEAD, EncodingRecord)


def check_law(store: ObjectStore, found: LatentsLaw, wanted: LatentsLaw) -> None:
    """Raises `RunMismatch` where latents are another law's, naming what differs."""
    if found != wanted:
        differing = differing_fields(found.model_dump(mode="json"), wanted.model_dump(mode="json"))
        raise RunMismatch(
            f"{store.uri}: holds latents of other weights, size or dataset; differing: "
            f"{'; '.join(differing)}"
        )


def plan_units(index: Index, unit_rows: int) -> list[Unit]:
    """The units of a dataset, in its order: the same for the same files."""
    # The empty instruction is unit 0's in any case.
    said = {instruction_name("")}
    units: list[Unit] = []
    counts = np.bincount(index.file, minlength=len(index.files))
    for name, base, count in zip(index.files, np.cumsum(counts) - counts, counts, strict=True):
        for first in range(0, int(count), unit_rows):
            rows = min(unit_rows, int(count) - first)
            speaks = []
            for row in range(rows):
                instruction = index.said[base + first + row].tobytes()
                if instruction not in said:
                    said.add(instruction)
                    speaks.append(row)
            units.append(Unit(len(units), name, first, rows, tuple(speaks)))
    return units


def commit_unit(
    store: ObjectStore,
    law_hash: str,
    content: EncodedUnit,
    data: bytes,
    environment: EncodingEnvironment,
) -> EncodedUnit:
    """Store a unit's data, then its commit; returns the commit that counts, ours or another's."""
    patiently(lambda: store.put(content.key, data))
    record = UnitRecord(law_hash=law_hash, content=content, environment=environment)
    write_once(store, unit_key(content.unit), to_stamped_json(record))
    found = find_unit(store, law_hash, content.unit)
    assert found is not None
    return found


def data_key(unit: int, sha256: str) -> str:
    """Where a unit's tensors lie."""
    return f"{DATA}{unit:06d}-{sha256[:16]}.safetensors"


def unit_key(unit: int) -> str:
    """Where a unit's commit lies."""
    return f"{UNITS}{unit:06d}.json"


def committed_units(store: ObjectStore) -> set[int]:
    """Numbers of the units that need not be made."""
    names = (info.key.removeprefix(UNITS).removesuffix(".json") for info in store.list(UNITS))
    return {int(name) for name in names if name.isdecimal()}


def find_unit(store: ObjectStore, law_hash: str, unit: int) -> EncodedUnit | None:
    """A unit's commit, or None. Raises `Damaged`."""
    record = _read(store, unit_key(unit), UnitRecord)
    if record is None:
        return None
    if record.law_hash != law_hash or record.content.unit != unit:
        raise Damaged(f"{store.uri}/{unit_key(unit)}: of another law or unit")
    return record.content


def seal(store: ObjectStore, record: EncodingRecord, units: Sequence[Unit]) -> LatentsRecord:
    """List all units, once every one is committed and its data is there. Raises `Damaged`."""
    law_hash = record.law.law_hash

    def checked(unit: Unit) -> EncodedUnit:
        found = find_unit(store, law_hash, unit.number)
        if found is None:
            raise Damaged(f"{store.uri}/{unit_key(unit.number)}: must be there before sealing")
        place = (found.file, found.first, found.rows)
        if place != (unit.file, unit.first, unit.rows):
            raise Damaged(f"{store.uri}/{unit_key(unit.number)}: of other rows than planned")
        info = patiently(lambda: store.find(found.key))
        if info is None or info.bytes != found.bytes:
            got = "nothing" if info is None else f"{info.bytes} bytes"
            raise Damaged(
                f"{store.uri}/{found.key}: must be {found.bytes} bytes, got {got}; remove "
                f"{unit_key(unit.number)} and run again"
            )
        return found

    with ThreadPoolExecutor(READERS) as threads:
        contents = tuple(threads.map(checked, units))
    sealed = LatentsRecord(law=record.law, rows=sum(unit.rows for unit in units), units=contents)
    write_once(store, SEAL, to_stamped_json(sealed))
    found = find_latents_record(store)
    assert found is not None
    return found


def find_latents_record(store: ObjectStore) -> LatentsRecord | None:
    """The seal, or None where there is none (yet). Raises `Damaged`."""
    return _read(store, SEAL, LatentsRecord)


def _read(store: ObjectStore, key: str, kind: type[R]) -> R | None:
    return patiently(lambda: find_stamped(store, key, kind, "such a record"))
