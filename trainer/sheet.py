"""A sheet of edits: the original, the editor's, the dataset's; the same pairs every time."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from factory.engine.editor import Editor
from factory.sheet import cell, grid
from schemas.fit import Watching
from trainer.pairs import Pairs
from trainer.pictures import decode, fit


def edit_sheet(
    editor: Editor, pairs: Pairs, rows: Sequence[int], side: int, watching: Watching
) -> bytes:
    """A PNG: each row's original, the edit of it, and the dataset's own edited picture."""
    found = [pairs.pair(row) for row in rows]
    shape = (side, side)
    originals = np.stack([fit(decode(pair.original), shape, flip=False) for pair in found])
    edits = editor.edit(
        torch.from_numpy(originals),
        [pair.instruction for pair in found],
        list(range(len(found))),
        steps=watching.sheet_steps,
        text_guidance=watching.text_guidance,
        image_guidance=watching.image_guidance,
    )
    cells = [
        cell(
            [
                Image.fromarray(original.transpose(1, 2, 0)),
                Image.fromarray(edit),
                decode(pair.edited),
            ],
            [pair.instruction, "original | edited by the model | the dataset's"],
        )
        for pair, original, edit in zip(found, originals, edits, strict=True)
    ]
    return grid(cells, 2)
