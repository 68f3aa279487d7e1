"""Latents and contexts that `encode` left: the reader that needs no picture and no frozen network."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from factory.engine.text import Words
from factory.errors import Damaged, InputError, first_line
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.untrusted_image.decoder import ImageRefused
from schemas.latents import EncodedUnit, LatentsLaw, LatentsRecord
from trainer.encoding import (
    HEAD,
    NOTHING,
    SEAL,
    check_law,
    find_latents_record,
    instruction_name,
)
from trainer.pictures import Shape
from trainer.reader import Reader, Seen
from trainer.shelf import Shelf

BESIDE = "latents"
"""Folder of a dataset in which a training looks for its latents unasked."""


class LatentReader(Reader):
    """Rows by number, as `PictureReader` would have them; files are mapped into memory, not read."""

    def __init__(
        self,
        store: ObjectStore,
        record: LatentsRecord,
        cache: Path | None = None,
        trained: Sequence[int] | None = None,
    ) -> None:
        """Fetches every file that is not on this machine and checks its hash. Raises `Damaged`."""
        super().__init__(store.uri, trained or range(record.rows))
        self._shelf = Shelf(store, [unit.key for unit in record.units], cache)
        self._latents: list[tuple[Shape, Tensor]] = []
        # Of each row: which of those, and where in it; -1 where it has none.
        self._group = np.full(record.rows, -1, np.int32)
        self._index = np.full(record.rows, -1, np.int32)
        self._said = np.zeros((record.rows, 16), np.uint8)
        self._words: dict[bytes, Words] = {}
        self._why: dict[int, str] = {}
        base = 0
        for number, unit in enumerate(record.units):
            self._add(base, unit, self._open(number, unit))
            base += unit.rows
        if base != record.rows or instruction_name("") not in self._words:
            raise Damaged(f"{self.uri}/{SEAL}: does not list all units")

    def _content(self, row: int, flip: bool) -> tuple[Shape, Any]:
        group = int(self._group[row])
        if group < 0:
            raise ImageRefused(self._why[row])
        shape, latents = self._latents[group]
        # A copy, so that the disk is waited for here and not in the step.
        found = latents[int(self._index[row]), int(flip)].clone()
        return shape, (found, self._said[row].tobytes())

    def encode(self, seen: Sequence[Seen]) -> tuple[Tensor, Tensor, Tensor, list[Words]]:
        """What was stored."""
        latents = torch.stack([one.content[0] for one in seen])
        words = [self._words[one.content[1]] for one in seen]
        return latents[:, 0], latents[:, 1], latents[:, 2], words

    def nothing(self) -> Words:
        return self._words.get(NOTHING, self._words[instruction_name("")])

    def close(self) -> None:
        """Nothing: what is mapped goes with the reader."""

    def _open(self, number: int, unit: EncodedUnit) -> dict[str, Tensor]:
        path = self._shelf.path(number)
        with path.open("rb") as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
        if got != unit.sha256:
            raise Damaged(f"{path}: must have sha256 {unit.sha256}, got {got}")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise Damaged(f"{path}: {first_line(error)}") from None

    def _add(self, base: int, unit: EncodedUnit, tensors: dict[str, Tensor]) -> None:
        self._said[base : base + unit.rows] = tensors["said"].numpy()
        names = [name.tobytes() for name in tensors["instructions"].numpy()]
        contexts = tensors.get("contexts", ())
        pooled = tensors.get("pooled", [None] * len(names))
        self._words |= dict(zip(names, map(Words, contexts, pooled), strict=True))
        for name in sorted(tensors):
            kind, _, shape = name.partition(".")
            if kind != "rows":
                continue
            height, _, width = shape.partition("x")
            rows: NDArray[np.int64] = base + tensors[name].numpy()
            self._group[rows] = len(self._latents)
            self._index[rows] = np.arange(len(rows))
            self._latents.append(((int(height), int(width)), tensors[f"latents.{shape}"]))
        self._why |= {base + one.row: one.why for one in unit.unreadable}


def open_latents(uri: str, law: LatentsLaw, trained: Sequence[int] | None = None) -> LatentReader:
    """The latents in a root. Raises as `check_latents`, and `Damaged`."""
    return LatentReader(open_store(uri), check_latents(uri, law), trained=trained)


def check_latents(uri: str, law: LatentsLaw) -> LatentsRecord:
    """The list of a root's latents. Raises `InputError` where they are not whole, and `RunMismatch`
    where they are another law's, naming what differs.
    """
    store = open_store(uri)
    record = find_latents_record(store)
    if record is None:
        begun = "not all are encoded" if store.find(HEAD) else "none are here"
        raise InputError(
            f"{uri}: must hold latents with {SEAL}, {begun}; `editmill encode` goes on"
        )
    check_law(store, record.law, law)
    return record


def choose_latents(
    named: str | None, dataset: str, law: LatentsLaw, say: Callable[[str], None]
) -> str | None:
    """Where a training's latents are: as named, else beside its dataset if whole and of its law.

    Says so where there are some that do not serve.

    Raises as `check_latents`, for those that are named.
    """
    if named is not None:
        check_latents(named, law)
        return named
    if dataset.endswith(".parquet"):
        return None
    uri = f"{dataset.rstrip('/')}/{BESIDE}"
    record = find_latents_record(open_store(uri))
    if record is None:
        return None
    if record.law != law:
        say(f"{uri}: latents by other models or of other pairs; pictures are encoded as they come")
        return None
    return uri
