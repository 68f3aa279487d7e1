"""Latents and contexts that `encode` left: the reader that needs no picture and no frozen network."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from factory.dataset.index import Index, instruction_name
from factory.engine.text import Words
from factory.errors import Damaged, InputError, first_line
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.storage.shelf import Shelf
from factory.untrusted_image.decoder import ImageRefused
from schemas.latents import LatentsLaw, LatentsRecord
from trainer.feeding.pictures import Shape
from trainer.feeding.reader import LoadedRow, Reader
from trainer.latents.encoding import DATA, HEAD, NOTHING, SEAL, check_law, find_latents_record

MOST_MAPPED = 4096
"""Files."""


class MappedUnit:
    """Rows and contexts by their names; copies are given out, so that the disk is waited for here."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """`tensors` as `Encoder.encode` makes them."""
        self._tensors = tensors
        self._rows: dict[int, tuple[Shape, str, int]] = {}
        for name in tensors:
            kind, _, shape = name.partition(".")
            if kind == "rows":
                height, _, width = shape.partition("x")
                size = int(height), int(width)
                for place, row in enumerate(tensors[name].tolist()):
                    self._rows[row] = size, f"latents.{shape}", place
        names = tensors["instructions"].numpy()
        self._places = {name.tobytes(): place for place, name in enumerate(names)}

    def row(self, row: int, flip: bool) -> tuple[Shape, Tensor] | None:
        """A row's shape in pixels and latents (3, 4, h, w); None where its pictures were unreadable."""
        if row not in self._rows:
            return None
        shape, name, place = self._rows[row]
        return shape, self._tensors[name][place, int(flip)].clone()

    def words(self, name: bytes) -> Words | None:
        """The context of an instruction; None where another unit holds it."""
        if name not in self._places:
            return None
        place, pooled = self._places[name], self._tensors.get("pooled")
        context = self._tensors["contexts"][place].clone()
        return Words(context, None if pooled is None else pooled[place].clone())


class LatentReader(Reader):
    """Rows by number, as `PictureReader` would have them; files are mapped into memory as rows need them.

    A system lets a process map some 65,000 files, and a dataset may have more: the newest stay mapped.
    """

    asks_networks = False

    def __init__(
        self,
        store: ObjectStore,
        record: LatentsRecord,
        index: Index,
        cache: Path | None = None,
        trained: Sequence[int] | None = None,
    ) -> None:
        """`index` is the dataset's. Raises `Damaged` where a file is not there whole."""
        super().__init__(store.uri, trained or range(record.rows))
        self._units = record.units
        self._index = index
        keys = [unit.key for unit in record.units]
        self._shelf = Shelf(store, keys, cache, named_by_content=True)
        self._first = np.cumsum([0, *(unit.rows for unit in record.units)])
        if not self._first[-1] == record.rows == len(index):
            raise Damaged(f"{self.uri}/{SEAL}: does not list all units")
        there = {info.key: info.bytes for info in store.list(DATA)}
        for unit in record.units:
            if there.get(unit.key) != unit.bytes:
                raise Damaged(
                    f"{self.uri}/{unit.key}: must be {unit.bytes} bytes, got "
                    f"{there.get(unit.key, 'nothing')}"
                )
        names, rows = np.unique(index.said.view(np.dtype((np.void, 16))).ravel(), return_index=True)
        # The dataset's first row with an instruction lies in the unit that holds its context.
        self._home = {
            bytes(name): self._unit_of(row) for name, row in zip(names, rows, strict=True)
        }
        self._home |= {instruction_name(""): 0, NOTHING: 0}
        self._open: OrderedDict[int, MappedUnit] = OrderedDict()
        self._whole: set[int] = set()
        self._lock = Lock()
        self._nothing = self._words(NOTHING) or self._words(instruction_name(""))
        if self._nothing is None:
            raise Damaged(f"{self.uri}/{SEAL}: does not hold the empty instruction")

    def where(self, row: int) -> str:
        return self._index.where(row)

    def _content(self, row: int, flip: bool) -> tuple[Shape, Any]:
        number = self._unit_of(row)
        found = self._mapped(number).row(int(row - self._first[number]), flip)
        if found is None:
            raise ImageRefused(self._why(number, row))
        name = self._index.said[row].tobytes()
        words = self._words(name)
        if words is None:
            raise Damaged(f"{self.uri}/{self._units[self._home[name]].key}: lacks an instruction")
        return found[0], (found[1], words)

    def encode(self, rows: Sequence[LoadedRow]) -> tuple[Tensor, Tensor, Tensor, list[Words]]:
        """What was stored."""
        latents = torch.stack([one.content[0] for one in rows])
        return latents[:, 0], latents[:, 1], latents[:, 2], [one.content[1] for one in rows]

    def nothing(self) -> Words:
        assert self._nothing is not None
        return self._nothing

    def close(self) -> None:
        """Nothing: what is mapped goes with the reader."""

    def _unit_of(self, row: int) -> int:
        return int(np.searchsorted(self._first, row, "right")) - 1

    def _why(self, number: int, row: int) -> str:
        unreadable = self._units[number].unreadable
        return next(one.why for one in unreadable if one.row == row - self._first[number])

    def _words(self, name: bytes) -> Words | None:
        return self._mapped(self._home[name]).words(name)

    def _mapped(self, number: int) -> MappedUnit:
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        path, unit = self._shelf.path(number), self._units[number]
        if number not in self._whole:
            with path.open("rb") as stream:
                got = hashlib.file_digest(stream, "sha256").hexdigest()
            if got != unit.sha256:
                raise Damaged(f"{path}: must have sha256 {unit.sha256}, got {got}")
        try:
            mapped = MappedUnit(load_file(path))
        except SafetensorError as error:
            raise Damaged(f"{path}: {first_line(error)}") from None
        with self._lock:
            self._whole.add(number)
            self._open[number] = mapped
            while len(self._open) > MOST_MAPPED:
                self._open.popitem(last=False)
        return mapped


def open_latents(
    uri: str, law: LatentsLaw, index: Index, trained: Sequence[int] | None = None
) -> LatentReader:
    """The latents in a root, of the dataset with this index. Raises as `check_latents`, and `Damaged`."""
    store = open_store(uri)
    return LatentReader(store, check_latents(store, law), index, trained=trained)


def check_latents(store: ObjectStore, law: LatentsLaw) -> LatentsRecord:
    """The list of a root's latents. Raises `InputError` where they are not whole, and `RunMismatch`
    where they are another law's, naming what differs.
    """
    record = find_latents_record(store)
    if record is None:
        begun = "not all are encoded" if store.find(HEAD) else "none are here"
        raise InputError(
            f"{store.uri}: must hold latents with {SEAL}, {begun}; `editmill encode` goes on"
        )
    check_law(store, record.law, law)
    return record


def choose_latents(
    named: str | None, beside: str | None, law: LatentsLaw, say: Callable[[str], None]
) -> str | None:
    """Where a training's latents are: as named, else `beside` its dataset if whole and of its law.

    Says so where there are some that do not serve.

    Raises as `check_latents`, for those that are named.
    """
    if named is not None:
        check_latents(open_store(named), law)
        return named
    record = None if beside is None else find_latents_record(open_store(beside))
    if record is None:
        return None
    if record.law != law:
        say(
            f"{beside}: latents by other models or of other pairs; pictures are encoded as they come"
        )
        return None
    return beside
