"""Latents and contexts that `encode` left: the reader that needs no picture and no frozen network."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from factory.dataset.index import Index, instruction_name
from factory.engine.text.encoder import Words
from factory.errors import Damaged, InputError, RunMismatch, first_line
from factory.ledger import keys
from factory.ledger.manifest import newest_manifest, unit_lines
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run, differing_fields, open_run
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.commits import commit_of
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.storage.shelf import Shelf
from factory.untrusted_image.decoder import ImageRefused
from schemas.ledger.commit import UnitLine
from schemas.training.latents import ENCODE, LatentsLaw, Slice
from trainer.feeding.pictures import Shape
from trainer.feeding.reader import LoadedRow, Reader
from trainer.latents.slices import NOTHING, homes

MOST_MAPPED = 4096
"""Files."""
MOST_NAMED = 4
"""Differences in a message."""


@dataclass(frozen=True)
class EncodedUnit:
    """A slice as it was encoded, by what the manifest says of it."""

    slice: Slice
    line: UnitLine

    @property
    def unreadable(self) -> int:
        """Rows that its tensors lack."""
        return self.line.counts["failed"]


@dataclass(frozen=True)
class Latents:
    """A root that is sealed whole."""

    run: Run
    plan: Plan
    law: LatentsLaw
    """What was encoded."""
    units: tuple[EncodedUnit, ...]
    """All of them, in the dataset's order."""

    @property
    def rows(self) -> int:
        """Of the dataset."""
        return sum(unit.slice.rows for unit in self.units)

    @property
    def unreadable(self) -> int:
        """Rows without latents."""
        return sum(unit.unreadable for unit in self.units)

    def reasons(self, number: int) -> list[str | None]:
        """Why rows of a unit are unreadable, None for those that are not."""
        found = find_commit(self.run, self.plan, number, self.units[number].line)
        return [row["reason"] for row in commit_of(self.run, number, found.key, found.data).rows]


def find_latents(root: ObjectStore | str) -> Latents | None:
    """The latents in a root, or None where none are sealed whole (yet). Raises `Damaged`."""
    try:
        run = open_run(root)
    except RunMismatch:
        return None
    newest = newest_manifest(run) if run.layout.stage == ENCODE.stage else None
    if newest is None or newest[1].partial:
        return None
    plan = read_plan(run)
    slices = (Slice.model_validate(item) for item in plan.all_items())
    lines = unit_lines(run, newest[1])
    units = tuple(EncodedUnit(*both) for both in zip(slices, lines, strict=True))
    return Latents(run, plan, LatentsLaw.read(run.recipe), units)


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
        latents: Latents,
        index: Index,
        trained: Sequence[int] | None = None,
    ) -> None:
        """`index` is the dataset's. Raises `Damaged` where a file is not there whole."""
        super().__init__(store.uri, trained or range(latents.rows))
        self._latents = latents
        self._lines = [unit.line for unit in latents.units]
        self._index = index
        names = [line.data_key or "" for line in self._lines]
        self._shelf = Shelf(store, names, named_by_content=True)
        self._first = np.cumsum([0, *(unit.slice.rows for unit in latents.units)])
        if self._first[-1] != len(index):
            raise Damaged(f"{self.uri}: latents of {self._first[-1]} rows, got {len(index)}")
        there = {info.key: info.bytes for info in store.list(keys.data_folder(ENCODE.stage))}
        for line in self._lines:
            if line.data_key and there.get(line.data_key) != line.data_bytes:
                raise Damaged(
                    f"{self.uri}/{line.data_key}: must be {line.data_bytes} bytes, got "
                    f"{there.get(line.data_key, 'nothing')}"
                )
        self._home = {name: self._unit_of(row) for name, row in homes(index).items()}
        self._mapped = lru_cache(MOST_MAPPED)(self._map)
        self._whole: set[int] = set()
        self._nothing = self._words(NOTHING) or self._words(instruction_name(""))
        if self._nothing is None:
            raise Damaged(f"{self.uri}: lacks the empty instruction; `encode --retry-failed`")

    def where(self, row: int) -> str:
        return self._index.where(row)

    def _content(self, row: int, flip: bool) -> tuple[Shape, Any]:
        number = self._unit_of(row)
        mapped, name = self._mapped(number), self._index.instruction[row].tobytes()
        found = mapped.row(int(row - self._first[number]), flip) if mapped else None
        if found is None:
            reasons = self._latents.reasons(number)
            raise ImageRefused(reasons[int(row - self._first[number])] or "not encoded")
        words = self._words(name)
        if words is None:
            home = self._lines[self._home[name]]
            if home.data_key is None:
                raise ImageRefused(f"the instruction of unit {home.unit}, which was given up")
            raise Damaged(f"{self.uri}/{home.data_key}: lacks an instruction")
        return found[0], (found[1], words)

    def encode(self, rows: Sequence[LoadedRow]) -> tuple[Tensor, Tensor, Tensor, list[Words]]:
        latents = torch.stack([one.content[0] for one in rows])
        return latents[:, 0], latents[:, 1], latents[:, 2], [one.content[1] for one in rows]

    def nothing(self) -> Words:
        assert self._nothing is not None
        return self._nothing

    def close(self) -> None:
        self._mapped.cache_clear()

    def _unit_of(self, row: int) -> int:
        return int(np.searchsorted(self._first, row, "right")) - 1

    def _words(self, name: bytes) -> Words | None:
        mapped = self._mapped(self._home[name])
        return mapped.words(name) if mapped else None

    def _map(self, number: int) -> MappedUnit | None:
        """A unit's tensors; None of one that was given up."""
        line = self._lines[number]
        if line.data_key is None:
            return None
        path = self._shelf.path(number)
        if number not in self._whole:
            with path.open("rb") as stream:
                got = hashlib.file_digest(stream, "sha256").hexdigest()
            if got != line.data_sha256:
                raise Damaged(f"{path}: must have sha256 {line.data_sha256}, got {got}")
            self._whole.add(number)
        try:
            return MappedUnit(load_file(path))
        except SafetensorError as error:
            raise Damaged(f"{path}: {first_line(error)}") from None


def open_latents(
    uri: str, law: LatentsLaw, index: Index, trained: Sequence[int] | None = None
) -> LatentReader:
    """The latents in a root, of the dataset with this index. Raises as `check_latents`, and `Damaged`."""
    store = open_store(uri)
    return LatentReader(store, check_latents(store, law), index, trained=trained)


def check_latents(store: ObjectStore, law: LatentsLaw) -> Latents:
    """A root's latents. Raises `InputError` where they are not whole, and `RunMismatch` where they are
    another law's, naming what differs.
    """
    latents = find_latents(store)
    if latents is None:
        begun = "not all are encoded" if store.find(keys.RUN) else "none are here"
        raise InputError(f"{store.uri}: must hold latents, {begun}; `editmill encode` goes on")
    if latents.law != law:
        fields = differing_fields(latents.law.identity(), law.identity())
        more = f" and {len(fields) - MOST_NAMED} more" if len(fields) > MOST_NAMED else ""
        raise RunMismatch(
            f"{store.uri}: holds latents of other weights, size or dataset; differing: "
            f"{'; '.join(fields[:MOST_NAMED])}{more}"
        )
    return latents


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
    latents = None if beside is None else find_latents(beside)
    if latents is None:
        return None
    if latents.law != law:
        say(
            f"{beside}: latents by other models or of other pairs; pictures are encoded as they come"
        )
        return None
    return beside
