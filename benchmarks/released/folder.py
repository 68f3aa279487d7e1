"""Read the folders that InstructPix2Pix released, one per prompt: 7 digits, four kinds of file.

    prompt.json         the triplet: input (or caption), edit, output
    metadata.jsonl      a line per kept pair: seed, p2p_threshold, cfg_scale, clip_sim_*
    <seed>_0.jpg        the original image, 512 × 512
    <seed>_1.jpg        the edited image

A prompt of which nothing was kept has no metadata.jsonl and no images.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from factory.errors import Damaged, InputError, ListError, first_line
from factory.pairs.source import Draw
from factory.pairs.triplets import read_triplets
from factory.pictures import Picture
from schemas.candidate import Scores
from schemas.triplet import Triplet


class Metadata(BaseModel):
    """A line of metadata.jsonl; fields that are not ours are left aside."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    seed: int = Field(ge=0, lt=2**32)
    p2p_threshold: float = Field(ge=0, le=1)
    cfg_scale: float = Field(ge=0)
    clip_sim_0: float
    clip_sim_1: float
    clip_sim_dir: float
    clip_sim_image: float


@dataclass(frozen=True)
class ReleasedPair:
    """One kept pair."""

    folder: Path
    triplet: Triplet
    metadata: Metadata

    @property
    def name(self) -> str:
        """Prompt and seed."""
        return f"{self.folder.name}/{self.metadata.seed}"

    @property
    def scores(self) -> Scores:
        """As the file has them."""
        return Scores(**{k: getattr(self.metadata, k) for k in Scores.model_fields})

    @property
    def draw(self) -> Draw:
        """The candidate that it was."""
        m = self.metadata
        return Draw(self.triplet, 0, seed=m.seed, p=m.p2p_threshold, guidance=m.cfg_scale)

    def file(self, image: int) -> Path:
        """Image 0 is the original, 1 the edited."""
        return self.folder / f"{self.metadata.seed}_{image}.jpg"

    def pictures(self, size_px: int) -> tuple[Picture, Picture]:
        """Both images. Raises `Damaged` where one is missing, cut or of another size."""
        return _picture(self.file(0), size_px), _picture(self.file(1), size_px)


def released_pairs(data: Path) -> Iterator[ReleasedPair | Damaged]:
    """Every pair of a shard's folder, or of a folder of shards, in name order, and every problem.

    Raises `InputError` where there is no folder of a prompt.
    """
    if not data.is_dir():
        raise InputError(f"{data}: must be a folder of released pairs, got no folder")
    folders = _prompt_folders(data)
    first = next(folders, None)
    if first is None:
        raise InputError(
            f"{data}: must hold prompts' folders of 7 digits, or shard-* folders of them, got none"
        )
    yield from _pairs_of(first)
    for folder in folders:
        yield from _pairs_of(folder)


def _prompt_folders(data: Path) -> Iterator[Path]:
    names = sorted(path.name for path in data.iterdir())
    for name in names:
        if re.fullmatch(r"\d{7}", name):
            yield data / name
        elif name.startswith("shard-") and (data / name).is_dir():
            yield from _prompt_folders(data / name)


def _pairs_of(folder: Path) -> Iterator[ReleasedPair | Damaged]:
    metadata = folder / "metadata.jsonl"
    if not metadata.is_file():
        images = sorted(path.name for path in folder.glob("*.jpg"))
        if images:
            yield Damaged(f"{metadata}: must be there beside images, got only {images[0]}")
        return
    try:
        triplet = read_triplets(str(folder / "prompt.json")).triplets[0]
    except ListError as error:
        reason = str(error).removesuffix(" (1 bad line, --max-bad is 0)")
        yield Damaged(f"{folder}/{reason}")
        return
    except InputError as error:
        yield Damaged(str(error))
        return
    lines = metadata.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield ReleasedPair(folder, triplet, Metadata.model_validate_json(line, strict=True))
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"]) or "line"
            got = repr(problem["input"])[:60]
            yield Damaged(f'{metadata}:{number}: "{field}": {problem["msg"]}, got {got}')


def _picture(file: Path, size_px: int) -> Picture:
    rule = f"must be a JPEG of {size_px} x {size_px} pixels"
    try:
        with Image.open(file, formats=["JPEG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise Damaged(f"{file}: {rule}, got no file") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"{file}: {rule}, got {first_line(error)}") from None
    if pixels.shape != (size_px, size_px, 3):
        height, width = pixels.shape[:2]
        raise Damaged(f"{file}: {rule}, got {width} x {height}")
    return pixels
