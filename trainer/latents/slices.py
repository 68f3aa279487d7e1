"""What a root of latents is made of: the law that decides them, and the slices that are encoded at once."""

import numpy as np

from factory.dataset.index import Index, instruction_name
from factory.errors import InputError
from schemas.training.fit import Columns, Law
from schemas.training.latents import LatentsLaw, Slice

MOST_ROWS = 1024
LEAST_ROWS = 16
SLICE_PIXELS = 2**26
"""Pixels of a slice's pictures, counted once a row: some 100 MB of latents at a factor of 8."""
NOTHING = bytes(16)
"""Stands for a dropped instruction, where that is not the empty one."""


def latents_law(law: Law, columns: Columns, dataset: str) -> LatentsLaw:
    """What of a training's law decides latents. Raises `InputError` where weights are not pinned."""
    for source in filter(None, (law.model, law.autoencoder)):
        if not source.files:
            raise InputError(f"law: {source.source}: files must be pinned, got none")
    other = ("unet/", "scheduler/", *(("vae/",) if law.autoencoder else ()))
    return LatentsLaw(
        model={name: sha for name, sha in law.model.files.items() if not name.startswith(other)},
        autoencoder=law.autoencoder.files if law.autoencoder else None,
        dtype="float64" if law.dtype == "float64" else "float32",
        size_px=law.size_px,
        buckets=law.buckets,
        columns=columns,
        dataset=dataset,
    )


def cut(index: Index, size_px: int) -> list[Slice]:
    """A dataset's slices, in its order: the same for the same files; none spans two of them."""
    most = max(LEAST_ROWS, min(MOST_ROWS, SLICE_PIXELS // size_px**2))
    counts = np.bincount(index.file, minlength=len(index.files))
    return [
        Slice(file=name, first=first, rows=min(most, int(count) - first))
        for name, count in zip(index.files, counts, strict=True)
        for first in range(0, int(count), most)
    ]


def homes(index: Index) -> dict[bytes, int]:
    """Each instruction's first row in the dataset: that row's unit holds its context."""
    names, rows = np.unique(
        index.instruction.view(np.dtype((np.void, 16))).ravel(), return_index=True
    )
    found = {bytes(name): int(row) for name, row in zip(names, rows, strict=True)}
    # The empty instruction is the first unit's in any case.
    return found | {instruction_name(""): 0, NOTHING: 0}
