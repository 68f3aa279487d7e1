"""Checkpoints: files named by their content, then a record that names them, written last.

Killed at any byte, a training finds its newest whole checkpoint by its record; names of folders, times and
whatever was half written mean nothing. Older ones are removed only after newer ones were found whole.
"""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from factory.errors import Damaged, ObjectMissing, StorageError, first_line
from factory.storage.patience import patiently, read_named
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.ledger.commit import StoredObject
from schemas.ledger.stamped import to_stamped_json
from schemas.training.root import CHECKPOINTS as RECORDS
from schemas.training.root import CheckpointRecord

FILES = "state/"
ABANDONED_S = 24 * 3600
"""Files that no record names are what killed workers left, once they are so old."""
FILE_BYTES = 2**30
"""Tensors are stored in files of about this size: S3 takes 5 GB in one piece."""
UPLOADS = 4
"""Files that are on their way at once: one alone seldom fills the line. Each is a copy in memory."""


class Checkpoints:
    """The checkpoints of one training, in its store."""

    def __init__(self, store: ObjectStore, law_hash: str, dataset: str, keep: int) -> None:
        self.store = store
        self.law_hash = law_hash
        self.dataset = dataset
        self.keep = keep
        self.damaged: dict[int, str] = {}
        """Steps that `newest` passed over, and why: what only reading shows, such as another byte."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def begin(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint beside the training; tensors must be copies, as it goes on.

        Waits for the one before. Raises what that one raised.
        """
        self.finish()
        self._writing = self._writer.submit(self.write, step, tensors)

    def finish(self) -> None:
        """Wait until the newest checkpoint is stored. Raises `StorageError`."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait for the newest checkpoint, stored or not."""
        self._writer.shutdown()

    def write(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Store the files, then the record, then remove what is older than the newest few."""
        with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as uploads:
            files = tuple(uploads.map(self._put, _parts(tensors)))
        record = CheckpointRecord(
            step=step, law_hash=self.law_hash, dataset=self.dataset, files=files
        )
        # Over what is there: it may be damaged, and a whole one of this step is as good.
        patiently(lambda: self.store.put(record_key(step), to_stamped_json(record)))
        self.damaged.pop(step, None)
        with suppress(StorageError):
            self._remove_older(record)

    def newest(self) -> tuple[int, dict[str, Tensor]] | None:
        """Step and tensors of the newest checkpoint that is whole, or None where there is none."""
        for step in reversed(steps_in(self.store)):
            try:
                return step, self.read(step)
            except Damaged as error:
                self.damaged[step] = first_line(error)
        return None

    def record(self, step: int) -> CheckpointRecord:
        """A checkpoint's record. Raises `Damaged`."""
        key = record_key(step)
        try:
            record = read_stamped(self.store, key, CheckpointRecord, "a checkpoint")
        except ObjectMissing as error:
            raise Damaged(
                f"{self.store.uri}/{key}: not a checkpoint: {first_line(error)}"
            ) from None
        expected = (step, self.law_hash, self.dataset)
        if (record.step, record.law_hash, record.dataset) != expected:
            raise Damaged(f"{self.store.uri}/{key}: of another step, law or dataset")
        return record

    def read(self, step: int) -> dict[str, Tensor]:
        """All tensors of a checkpoint, on the CPU. Raises `Damaged` where any byte is amiss."""
        tensors: dict[str, Tensor] = {}
        for file in self.record(step).files:
            what = f"{self.store.uri}/{file.key}: not the bytes of its record"
            try:
                data = read_named(self.store, file.key, file.sha256, what)
            except ObjectMissing as error:
                raise Damaged(f"{self.store.uri}/{file.key}: {first_line(error)}") from None
            try:
                tensors |= load(data)
            except SafetensorError as error:
                raise Damaged(f"{self.store.uri}/{file.key}: {first_line(error)}") from None
        return tensors

    def _put(self, tensors: dict[str, Tensor]) -> StoredObject:
        data = save(tensors)
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"{FILES}{sha256[:32]}.safetensors"
        patiently(lambda: self.store.put(key, data))
        return StoredObject(key=key, sha256=sha256, bytes=len(data))

    def _remove_older(self, newest: CheckpointRecord) -> None:
        """Keeps the newest few that are whole; without the right to delete all stay."""
        # A store may list what was just written later.
        steps = sorted({*steps_in(self.store), newest.step})
        whole = [step for step in reversed(steps) if self._is_there(step)][: self.keep]
        named = {file.key for step in whole for file in self.record(step).files}
        named |= {file.key for file in newest.files}
        old: set[str] = set()
        # Records first: a checkpoint must never look whole and lack a file.
        enough = len(whole) == self.keep
        for step in (step for step in steps if enough and step < whole[-1]):
            if step == newest.step:
                continue
            with suppress(Damaged):
                old |= {file.key for file in self.record(step).files}
            self.store.delete(record_key(step))
        abandoned = self.store.now() - ABANDONED_S
        for info in list(self.store.list(FILES)):
            if info.key not in named and (info.key in old or info.modified < abandoned):
                self.store.delete(info.key)

    def _is_there(self, step: int) -> bool:
        if step in self.damaged:
            return False
        try:
            files = self.record(step).files
        except Damaged:
            return False
        found = (self.store.find(file.key) for file in files)
        return all(
            info is not None and info.bytes == file.bytes
            for info, file in zip(found, files, strict=True)
        )


def steps_in(store: ObjectStore) -> list[int]:
    """The steps of a training's checkpoints, whole or not, ascending."""
    names = (info.key.removeprefix(RECORDS) for info in store.list(RECORDS))
    return sorted(int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdecimal())


def record_key(step: int) -> str:
    """Where the record of a step lies."""
    return f"{RECORDS}{step:09d}.json"


def _parts(tensors: Mapping[str, Tensor]) -> Iterable[dict[str, Tensor]]:
    """Tensors in name order, cut where a file would grow too large."""
    part: dict[str, Tensor] = {}
    size = 0
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        bytes_ = tensor.numel() * tensor.element_size()
        if part and size + bytes_ > FILE_BYTES:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += bytes_
    if part:
        yield part
