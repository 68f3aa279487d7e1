"""Items to micro-batches: pictures read in threads ahead of the step, encoded on its device."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory import seeds
from factory.dataset.decoders import Decoders
from factory.dataset.pairs import Pairs
from factory.engine.staging import ahead
from factory.engine.text.encoder import Words, conditioning
from factory.errors import InputError
from factory.untrusted_image.decoder import ImageRefused
from schemas.training.fit import Law
from trainer.feeding.pictures import Shape, sized_pair
from trainer.learning.conditions import Conditions
from trainer.learning.objective import MicroBatch
from trainer.learning.order import StepPair


@dataclass(frozen=True)
class LoadedRow:
    """An item with what the frozen networks make of it, or will be given."""

    item: StepPair
    row: int
    """The row that was read; another than the item's where that one was unreadable."""
    shape: Shape
    """Height and width of its pictures in pixels."""
    content: Any
    """What `Reader.encode` needs."""


class Reader(ABC):
    """Where latents come from: pictures, or what was encoded before.

    Where a row is unreadable, the next readable one of those that are trained takes its place: the same
    on every start, from pictures and from latents.
    """

    asks_networks: ClassVar[bool] = True
    """Whether `encode` does."""

    def __init__(self, uri: str, trained: Sequence[int]) -> None:
        """`uri` is the dataset for messages; `trained` are the rows that are not held out."""
        self.uri = uri
        self.bad: dict[int, str] = {}
        """Unreadable rows so far, and why."""
        self._trained: NDArray[np.int64] = np.array(sorted(trained), np.int64)

    def read(self, item: StepPair) -> LoadedRow:
        """Called from threads. Raises `InputError` where nothing is readable."""
        count, first = len(self._trained), int(np.searchsorted(self._trained, item.row))
        for further in range(count):
            row = int(self._trained[(first + further) % count])
            try:
                shape, content = self._content(row, item.flip)
                return LoadedRow(item, row, shape, content)
            except ImageRefused as error:
                self.bad[row] = str(error)
        row = int(self._trained[0])
        raise InputError(
            f"{self.uri}: must hold pictures that can be read, got none in the {count} rows that "
            f"are trained; {self.where(row)}: {self.bad[row]}"
        )

    def where(self, row: int) -> str:
        """A row for a message."""
        return f"row {row}"

    @abstractmethod
    def _content(self, row: int, flip: bool) -> tuple[Shape, Any]:
        """A row's shape, and what `encode` needs. Raises `ImageRefused`."""

    @abstractmethod
    def encode(self, rows: Sequence[LoadedRow]) -> tuple[Tensor, Tensor, Tensor, list[Words]]:
        """Mean and log-variance of the edited, mean of the original, instructions."""

    @abstractmethod
    def nothing(self) -> Words:
        """What a dropped instruction becomes."""

    @abstractmethod
    def close(self) -> None:
        """Called when no thread reads any more."""


class PictureReader(Reader):
    """Decodes, resizes, mirrors; encodes with the frozen networks."""

    def __init__(
        self, pairs: Pairs, law: Law, conditions: Conditions, trained: Sequence[int] | None = None
    ) -> None:
        """Without `trained`, all rows are."""
        super().__init__(pairs.shelf.store.uri, trained or range(len(pairs)))
        self.pairs = pairs
        self.law = law
        self.conditions = conditions
        self._decoders = Decoders()

    def where(self, row: int) -> str:
        return self.pairs.where(row)

    def _content(self, row: int, flip: bool) -> tuple[Shape, Any]:
        pair = self.pairs.pair(row)
        shape, *pictures = sized_pair(
            self._decoders, pair, self.law, self.conditions.autoencoder.factor, flip
        )
        return shape, (*pictures, pair.instruction)

    def encode(self, rows: Sequence[LoadedRow]) -> tuple[Tensor, Tensor, Tensor, list[Words]]:
        """Two passes of the autoencoder, as the original: of the edited pictures, of the originals."""
        originals, edited = (
            torch.from_numpy(np.stack([one.content[place] for one in rows])) for place in (0, 1)
        )
        mean, log_variance = self.conditions.latents(edited)
        condition, _ = self.conditions.latents(originals)
        words = [self.conditions.text.words(one.content[2]) for one in rows]
        return mean, log_variance, condition, words

    def nothing(self) -> Words:
        return self.conditions.text.nothing()

    def close(self) -> None:
        self._decoders.close()


def micro_batches(rows: Sequence[LoadedRow], most: int) -> Iterator[list[LoadedRow]]:
    """Items of equal shape together, `most` at once; their order is that of the step."""
    for _, same in groupby(sorted(rows, key=lambda one: one.shape), key=lambda one: one.shape):
        items = list(same)
        for start in range(0, len(items), most):
            yield items[start : start + most]


def assemble(
    reader: Reader, rows: Sequence[LoadedRow], device: Any, dtype: torch.dtype
) -> MicroBatch:
    """A micro-batch on the device, conditions dropped and noises drawn as its items say."""
    *latents, instructions = reader.encode(rows)
    # Alike from every reader: the network's last bits change with its input's strides.
    mean, log_variance, condition = (latent.contiguous() for latent in latents)
    mean = ahead(mean, device).to(dtype)
    items = [one.item for one in rows]
    nothing = reader.nothing()
    words = [
        nothing if item.dropped in ("text", "both") else instruction
        for item, instruction in zip(items, instructions, strict=True)
    ]
    context, added = conditioning(words, *rows[0].shape, mean)
    keeps_image = torch.tensor([item.dropped not in ("image", "both") for item in items])
    shape = tuple(mean.shape[1:])
    posterior, noise = (
        torch.from_numpy(np.stack([seeds.noise(item.seed, purpose, shape) for item in items]))
        for purpose in ("posterior", "noise")
    )
    # A product, not a choice, would let a latent that is not finite through.
    kept = torch.where(
        ahead(keeps_image.view(-1, 1, 1, 1), condition.device),
        condition,
        torch.zeros_like(condition),
    )
    return MicroBatch(
        mean=mean,
        log_variance=ahead(log_variance, device).to(dtype),
        condition=ahead(kept, device).to(dtype),
        context=context,
        timestep=ahead(torch.tensor([item.timestep for item in items]), device),
        posterior=ahead(posterior, device).to(dtype),
        noise=ahead(noise, device).to(dtype),
        added=added,
    )
