"""A training's root in a store: whose it is, its checkpoints, the finished editor."""

import json
import platform
from pathlib import Path

from factory.dataset.dataset import Dataset
from factory.dataset.files import Place
from factory.dataset.index import FOLDER, find_index, read_index, store_index
from factory.dataset.scan import TokenLimit
from factory.deeds import PROBES
from factory.errors import InputError, RunMismatch
from factory.ledger.run import differing_fields
from factory.storage.patience import patiently, write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import find_stamped
from schemas.ledger.stamped import to_stamped_json
from schemas.training.fit import Fit, Law, Reading
from schemas.training.root import RECORD, TrainingRecord


def training_dataset(
    store: ObjectStore, uri: str, reading: Reading, limit: TokenLimit | None = None
) -> Dataset:
    """The dataset that a training's root knows, or for one that has not begun what is there. As `open`."""
    begun = find_training(store)
    known = find_index(store, begun.dataset) if begun else None
    return Dataset.open(uri, reading, known, limit)


def begun_dataset(store: ObjectStore, place: Place, config: Fit) -> Dataset:
    """A worker's: the rows and their order that the root of a begun training holds, which this one must be.

    Raises `InputError` where this machine does not find what another has begun, and `RunMismatch`.
    """
    begun = find_training(store)
    # A shared folder that is listed is looked at anew, and may show it now.
    if begun is None and RECORD in {info.key for info in store.list()}:
        begun = find_training(store)
    if begun is None:
        raise InputError(
            f"{store.uri}: must be a folder that all nodes share, or s3://bucket/prefix, got one "
            f"without {RECORD} on {platform.node()}"
        )
    _check(store, begun, config, begun.dataset)
    return Dataset.at(place, config.reading.columns, read_index(store, begun.dataset))


def begin_training(store: ObjectStore, config: Fit, dataset: Dataset) -> None:
    """Write whose training this root holds, or find that it is this one's.

    Raises `RunMismatch` where it holds something else, another law, another dataset, or other pairs of it.
    """
    law, reading, watching = config.law, config.reading, config.watching
    if find_training(store) is None:
        ours = (PROBES, FOLDER)
        stranger = next((o.key for o in store.list() if not o.key.startswith(ours)), None)
        if stranger is not None and stranger != RECORD:
            raise RunMismatch(
                f"{store.uri}: must be empty or a training, got {stranger!r} and no {RECORD}"
            )
        store_index(store, dataset.index)
        record = TrainingRecord(
            law=json.loads(law.model_dump_json()),
            law_hash=law.law_hash,
            dataset=dataset.digest,
            columns=reading.columns,
            held_out=reading.held_out,
            sheet_pairs=watching.sheet_pairs,
        )
        write_once(store, RECORD, to_stamped_json(record))
    found = find_training(store)
    assert found is not None
    _check(store, found, config, dataset.digest)


def _check(store: ObjectStore, found: TrainingRecord, config: Fit, digest: str) -> None:
    """Raises `RunMismatch` where a root holds another training than this one."""
    law, reading, watching = config.law, config.reading, config.watching
    if found.law_hash != law.law_hash:
        differing = differing_fields(Law.filled(found.law), json.loads(law.model_dump_json()))
        raise RunMismatch(
            f"{store.uri}: holds a training by another law; differing: {'; '.join(differing)}"
        )
    if found.dataset != digest:
        raise RunMismatch(f"{store.uri}: holds a training on another dataset; choose another --out")
    differing = [
        line
        for name, then, now in (
            (
                "reading.columns",
                found.columns and found.columns.model_dump(),
                reading.columns.model_dump(),
            ),
            ("reading.held_out", found.held_out, reading.held_out),
            ("watching.sheet_pairs", found.sheet_pairs, watching.sheet_pairs),
        )
        if then is not None
        for line in differing_fields(then, now, name)
    ]
    if differing:
        raise RunMismatch(
            f"{store.uri}: holds a training that read its dataset otherwise; differing: "
            f"{'; '.join(differing)}"
        )


def find_training(store: ObjectStore) -> TrainingRecord | None:
    """What stands in the root, or None. Raises `Damaged`."""
    return find_stamped(store, RECORD, TrainingRecord, "a training's record")


def store_folder(store: ObjectStore, folder: Path, under: str) -> None:
    """Every file of a model's folder, below a key; its index last, so that it names what is there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: (path.name == "model_index.json", path)):
        key, data = f"{under}{path.relative_to(folder).as_posix()}", path.read_bytes()
        patiently(lambda key=key, data=data: store.put(key, data))  # type: ignore[misc]
