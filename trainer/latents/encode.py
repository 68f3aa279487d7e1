"""`encode`: the latents and contexts of a dataset's rows, once for all trainings on it."""

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from safetensors.torch import save

from factory import deeds
from factory.console.signals import INTERRUPTED, Drain
from factory.dataset.dataset import Dataset
from factory.dataset.files import Place
from factory.dataset.index import find_index, read_index
from factory.dataset.pairs import Pairs
from factory.dataset.truncation import say_truncation
from factory.engine.text_limit import TextLimit
from factory.errors import EditmillError
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from schemas.fit import Fit
from schemas.latents import EncodedUnit, EncodingRecord, LatentsRecord
from trainer.latents.encoder import Encoder
from trainer.latents.encoding import (
    Unit,
    begin_encoding,
    commit_unit,
    committed_units,
    data_key,
    find_encoding,
    find_latents_record,
    find_unit,
    latents_law,
    plan_units,
    seal,
)

Runner = Callable[
    [Fit, Place, str, EncodingRecord, Sequence[Unit]], Generator[EncodedUnit, None, None]
]
"""Makes and commits units, in any order: by the configuration, dataset, root, its record and the units."""


def encode_unit(
    store: ObjectStore, record: EncodingRecord, encoder: Encoder, pairs: Pairs, unit: Unit
) -> EncodedUnit:
    """Encode a unit and commit it, unless it is; `pairs` are those of its file."""
    law_hash = record.law.law_hash
    found = find_unit(store, law_hash, unit.number)
    if found is not None:
        return found
    tensors, bad = encoder.encode(pairs, unit)
    deeds.made()
    data = save(tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    content = EncodedUnit(
        unit=unit.number,
        file=unit.file,
        first=unit.first,
        rows=unit.rows,
        key=data_key(unit.number, sha256),
        sha256=sha256,
        bytes=len(data),
        unreadable=bad,
    )
    return commit_unit(store, law_hash, content, data, encoder.environment)


def encode_here(
    config: Fit, place: Place, out: str, record: EncodingRecord, units: Sequence[Unit]
) -> Generator[EncodedUnit, None, None]:
    """A runner in this process."""
    store = open_store(out)
    index = read_index(store, record.law.dataset)
    dataset = Dataset.at(place, config.reading.columns, index)
    with closing(Encoder.of(config)) as encoder:
        for unit in units:
            yield encode_unit(store, record, encoder, dataset.part(unit.file), unit)


def encode_dataset(
    config: Fit,
    dataset: str,
    out: str,
    runner: Runner = encode_here,
    tell: Callable[[int, int, int], None] = lambda done, of, unreadable: None,
    say: Callable[[str], None] = lambda line: None,
) -> LatentsRecord:
    """Encode what is not yet encoded in `out`, then seal it; the law's files must be pinned.

    `tell` hears, after each unit, how many are committed, of how many, and rows that this start could
    not read; `say` hears what else there is to say of the dataset. SIGTERM ends it after a unit, with an
    `EditmillError`. Raises `InputError`, and `RunMismatch` where `out` holds something else.
    """
    store, reading = open_store(out), config.reading
    there, limit = find_encoding(store), TextLimit(config.law.model)
    known = find_index(store, there.law.dataset) if there else None
    opened = Dataset.open(dataset, reading, known, limit)
    for note in opened.files.notes:
        say(note)
    law = latents_law(config.law, reading.columns, opened.digest)
    record = begin_encoding(store, law, opened.index)
    say_truncation(store, opened, say)
    found = find_latents_record(store)
    if found is not None:
        return found
    units = plan_units(opened.index, record.unit_rows)
    committed = committed_units(store)
    missing = [unit for unit in units if unit.number not in committed]
    done, unreadable = len(units) - len(missing), 0
    tell(done, len(units), unreadable)
    if missing:
        reports = runner(config, opened.files.place, store.uri, record, missing)
        # After the runner was asked: Ray takes over SIGTERM when it starts.
        with Drain() as drain, closing(reports):
            for made in reports:
                deeds.made()
                done, unreadable = done + 1, unreadable + len(made.unreadable)
                tell(done, len(units), unreadable)
                if drain.asked and done < len(units):
                    raise EditmillError(INTERRUPTED)
    return seal(store, record, units)
