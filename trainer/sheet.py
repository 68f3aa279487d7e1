"""A sheet of edits: the original, the editor's, the dataset's; the same pairs every time."""

from collections.abc import Sequence
from contextlib import closing, suppress

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from factory.engine.editor import Editor
from factory.pair_source import Picture
from factory.sheet import cell, grid
from factory.untrusted_image.decoder import ImageRefused
from schemas.fit import Sampler
from trainer.decoders import Decoders
from trainer.pairs import Pairs
from trainer.pictures import fit


def edit_sheet(
    editor: Editor, pairs: Pairs, rows: Sequence[int], side: int, sampler: Sampler
) -> bytes | None:
    """A PNG: each row's original, the edit of it, and the dataset's own edited picture.

    Rows with unreadable pictures are left out; None where no row is left.
    """
    found: list[tuple[str, NDArray[np.uint8], Picture]] = []
    with closing(Decoders()) as decoders:
        for row in rows:
            pair = pairs.pair(row)
            with suppress(ImageRefused):
                original = fit(decoders.decode(pair.original, "original"), (side, side), flip=False)
                edited = decoders.decode(pair.edited, "edited")
                found.append((pair.instruction, original, edited))
    if not found:
        return None
    instructions, originals, _ = zip(*found, strict=True)
    edits = editor.edit(
        torch.from_numpy(np.stack(originals)),
        instructions,
        list(range(len(found))),
        **sampler.model_dump(),
    )
    cells = [
        cell(
            [
                Image.fromarray(original.transpose(1, 2, 0)),
                Image.fromarray(edit),
                Image.fromarray(edited),
            ],
            [instruction, "original | edited by the model | the dataset's"],
        )
        for (instruction, original, edited), edit in zip(found, edits, strict=True)
    ]
    return grid(cells, 2)
