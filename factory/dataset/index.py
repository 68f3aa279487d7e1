"""What a training knows of a dataset before it reads a picture: files, and each row's prompt and place.

    dataset/<sha256, 16 hex>.safetensors     in a training's root and in that of latents, before the record

Made once, by who begins; workers and later starts read it and open only those files of which they
need a picture. So a run may be sealed further meanwhile: a training goes on with the pairs that it knows.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from factory.errors import Damaged, InputError, ObjectMissing, first_line
from factory.storage.patience import patiently, read_whole
from factory.storage.protocol import ObjectStore

FOLDER = "dataset/"
FILES = "files"
ARRAYS = {name: name for name in ("file", "group", "offset", "prompt")} | {"instruction": "said"}
"""Of an index, by the names under which they are stored."""


@dataclass(frozen=True)
class Index:
    """A dataset's files in their order, and its rows in theirs; arrays have one entry per row."""

    files: tuple[str, ...]
    """Names below the dataset."""
    footers: tuple[str, ...]
    """What tells each file's content, see `scan.footer_hash`."""
    file: NDArray[np.int32]
    """Number of the row's file, ascending."""
    group: NDArray[np.int32]
    """Its row group there."""
    offset: NDArray[np.int32]
    """Its place in that."""
    prompt: NDArray[np.uint8]
    """(rows, 8): equal for rows with the same captions and instruction."""
    instruction: NDArray[np.uint8]
    """(rows, 16): stands for the instruction, see `instruction_name`."""

    def __len__(self) -> int:
        return len(self.file)

    @property
    def digest(self) -> str:
        """sha256 over all of it: equal for one dataset wherever it lies."""
        taken = hashlib.sha256(json.dumps([self.files, self.footers]).encode())
        for name in ARRAYS:
            taken.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return taken.hexdigest()

    def where(self, row: int) -> str:
        """A row for a message."""
        return where(self.files[self.file[row]], int(self.group[row]), int(self.offset[row]))

    def of_file(self, name: str) -> "Index":
        """One file's rows, numbered from 0."""
        number = self.files.index(name)
        first, end = np.searchsorted(self.file, [number, number + 1])
        rows = slice(int(first), int(end))
        return Index(
            files=(name,),
            footers=(self.footers[number],),
            file=np.zeros(rows.stop - rows.start, np.int32),
            group=self.group[rows],
            offset=self.offset[rows],
            prompt=self.prompt[rows],
            instruction=self.instruction[rows],
        )


def where(name: str, group: int, row: int) -> str:
    """A row of a file for a message."""
    return f"{name}: row group {group}, row {row}"


def instruction_name(instruction: str) -> bytes:
    """16 bytes that stand for an instruction."""
    return hashlib.sha256(instruction.encode()).digest()[:16]


def store_index(store: ObjectStore, index: Index) -> None:
    """Put it into a root, under its digest."""
    arrays = {stored: np.ascontiguousarray(getattr(index, name)) for name, stored in ARRAYS.items()}
    # One entry: of several, safetensors writes now one first and now another.
    named = json.dumps([index.files, index.footers])
    data = save(arrays, metadata={FILES: named})
    patiently(lambda: store.put(_key(index.digest), data))


def find_index(store: ObjectStore, digest: str) -> Index | None:
    """A root's index with this digest, or None. Raises `Damaged`."""
    key = _key(digest)

    def taken(data: bytes) -> Index:
        try:
            stored = load(data)
            arrays = {name: stored[as_stored] for name, as_stored in ARRAYS.items()}
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            files, footers = map(tuple, json.loads(header[FILES]))
            index = Index(files=files, footers=footers, **arrays)
            whole = index.digest == digest
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{store.uri}/{key}: not an index: {first_line(error)}") from None
        if not whole:
            raise Damaged(f"{store.uri}/{key}: not the index that its root names")
        return index

    try:
        return read_whole(store, key, taken)
    except ObjectMissing:
        return None


def read_index(store: ObjectStore, digest: str) -> Index:
    """As `find_index`. Raises `InputError` where it is not there."""
    index = find_index(store, digest)
    if index is None:
        raise InputError(
            f"{store.uri}/{_key(digest)}: must be there for every worker; a folder must be one that all "
            "machines share"
        )
    return index


def _key(digest: str) -> str:
    return f"{FOLDER}{digest[:16]}.safetensors"
