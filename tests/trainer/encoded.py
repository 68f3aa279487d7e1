"""A small dataset of pairs in several files, a tiny model, and a training's configuration on both."""

import atexit
import io
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from schemas.training.fit import Fit
from tests.factory.engine.tiny import save_tiny
from trainer.fit import pin_law

INSTRUCTIONS = ("make it red", "", "turn the circle into a star", "make it red", "make it small")
SIZES = ((16, 16), (24, 16), (16, 40), (20, 20))
UNREADABLE = 4
"""A row of the first file."""


@cache
def model(seed: int = 0) -> str:
    """A folder with random weights."""
    folder = Path(mkdtemp(prefix="editmill-test-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    save_tiny(folder / "model", seed)
    return str(folder / "model")


def picture(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def write_dataset(folder: Path, rows=(7, 4), unreadable=UNREADABLE) -> str:
    """Files of so many rows with pictures of several sizes, one of them not a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    number = 0
    for file, count in enumerate(rows):
        columns: dict[str, list] = {"original_image": [], "edit_prompt": [], "edited_image": []}
        for row in range(count):
            size = SIZES[number % len(SIZES)]
            original, edited = picture(rng, size), picture(rng, size)
            if file == 0 and row == unreadable:
                edited = edited[: len(edited) // 2]
            columns["original_image"].append(original)
            columns["edited_image"].append(edited)
            columns["edit_prompt"].append(INSTRUCTIONS[number % len(INSTRUCTIONS)])
            number += 1
        pq.write_table(pa.table(columns), folder / f"part-{file}.parquet", row_group_size=3)
    return str(folder)


def configuration(seed: int = 0, pinned: bool = True, **more) -> Fit:
    """Of a training on 16 px pictures with micro-batches of 4; `more` by group."""
    law = {"model": {"source": model(seed)}, "size_px": 16, "batch": 8, "steps": 2}
    compute = {"where": "here", "device": "cpu", "gpus_per_worker": 0, "micro_batch": 4}
    found = Fit(
        law=law | more.get("law", {}),
        compute=compute | more.get("compute", {}),
        reading=more.get("reading", {}),
        watching={"sheet_every": 0, "sheet_pairs": 1, "tensorboard": False},
    )
    return found.model_copy(update={"law": pin_law(found.law)}) if pinned else found
