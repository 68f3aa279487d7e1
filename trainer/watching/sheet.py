"""A sheet of edits: the original, the editor's, the dataset's; the same pairs every time."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from factory.dataset.decoders import Decoders
from factory.dataset.pairs import Pairs
from factory.edits.editors.ip2p import Ip2pEditor
from factory.pairs.sheet import cell, grid
from factory.pictures import Picture
from factory.untrusted_image.decoder import ImageRefused
from schemas.training.fit import Law, Sampler
from trainer.feeding.pictures import Shape, sized_pair

PIXELS_AT_ONCE = 2**20
"""Of the originals in one batch of the sampler: four of 512 px, one of Stable Diffusion XL."""


@dataclass(frozen=True)
class _Row:
    """A pair in the shape that the law brings it to; pictures are (3, height, width) bytes."""

    instruction: str
    original: NDArray[np.uint8]
    edited: NDArray[np.uint8]


def edit_sheet(
    editor: Ip2pEditor, pairs: Pairs, rows: Sequence[int], law: Law, sampler: Sampler
) -> bytes | None:
    """A PNG: each row's original, the edit of it, and the dataset's own edited picture.

    Rows with unreadable pictures are left out; None where no row is left.
    """
    found = _read(pairs, rows, law, editor.networks.autoencoder.factor)
    if not found:
        return None
    edits: dict[int, Picture] = {}
    for numbers in _batches([row.original.shape[1:] for row in found]):
        batch = [found[number] for number in numbers]
        edited = editor.edit(
            torch.from_numpy(np.stack([row.original for row in batch])),
            tuple(row.instruction for row in batch),
            numbers,
            **sampler.model_dump(),
        )
        edits |= zip(numbers, edited, strict=True)
    cells = [
        cell(
            [
                Image.fromarray(row.original.transpose(1, 2, 0)),
                Image.fromarray(edits[number]),
                Image.fromarray(row.edited.transpose(1, 2, 0)),
            ],
            [row.instruction, "original | edited by the model | the dataset's"],
        )
        for number, row in enumerate(found)
    ]
    return grid(cells, 2)


def _read(pairs: Pairs, rows: Sequence[int], law: Law, factor: int) -> list[_Row]:
    """The readable rows; `factor` is the autoencoder's."""
    found = []
    with closing(Decoders()) as decoders:
        for row in rows:
            pair = pairs.pair(row)
            with suppress(ImageRefused):
                _, original, edited = sized_pair(decoders, pair, law, factor)
                found.append(_Row(pair.instruction, original, edited))
    return found


def _batches(shapes: Sequence[Shape]) -> list[list[int]]:
    """Numbers of pictures of one shape that go through the editor together."""
    found = []
    for height, width in sorted(set(shapes)):
        same = [number for number, shape in enumerate(shapes) if shape == (height, width)]
        most = max(1, PIXELS_AT_ONCE // (height * width))
        found += [same[start : start + most] for start in range(0, len(same), most)]
    return found
