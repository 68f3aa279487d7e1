"""A contact sheet: accepted pairs as a person looks at them, original beside edited."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from functools import partial

from PIL import Image, ImageDraw, ImageFont

from factory.errors import Damaged, first_line
from factory.ledger.manifest import unit_lines
from factory.ledger.run import Run
from factory.storage.patience import read_whole
from schemas.arrow import from_parquet
from schemas.candidate import Scores
from schemas.ledger.commit import Manifest, UnitLine
from schemas.pair import Pair

CELL_PX = 192
TEXT_PX = 96
MARGIN_PX = 12
FONT_PX = 13
LINE_CHARACTERS = 62


def sealed_pairs(run: Run, manifest: Manifest) -> Iterator[Pair]:
    """Every pair of a sealed run, in unit order. Raises `Damaged`."""
    for line in unit_lines(run, manifest):
        yield from unit_pairs(run, line)


def unit_pairs(run: Run, line: UnitLine) -> list[Pair]:
    """The pairs of a sealed unit. Raises `Damaged`."""
    if line.data_key is None:
        return []
    return read_whole(run.store, line.data_key, partial(stored_pairs, run, line.data_key))


def stored_pairs(run: Run, key: str, data: bytes) -> list[Pair]:
    """The pairs of a unit, from the bytes of its file. Raises `Damaged`."""
    try:
        return from_parquet(Pair, data)[0]
    except (ValueError, OSError) as error:
        raise Damaged(f"{run.uri}/{key}: not a pairs file: {first_line(error)}") from error


def contact_sheet(pairs: Iterator[Pair], count: int = 24, columns: int = 4) -> bytes:
    """The first pair of each of the first `count` triplets, as a PNG file."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.triplet_id, pair)
        if len(first) == count:
            break
    return grid([_pair_cell(pair) for pair in first.values()], columns)


def _pair_cell(pair: Pair) -> Image.Image:
    stored = (pair.original_image, pair.edited_image)
    words = (pair.original_prompt, pair.edit_prompt, pair.edited_prompt)
    return cell(
        [opened(image.bytes) for image in stored],
        [*prompt_lines(*words), score_line(pair.p2p_threshold, pair.cfg_scale, pair)],
    )


def opened(data: bytes) -> Image.Image:
    """In the formats that pairs are stored in: Pillow knows some that start other programs."""
    return Image.open(io.BytesIO(data), formats=("PNG", "JPEG")).convert("RGB")


def prompt_lines(original: str, edit: str, edited: str) -> list[str]:
    """What was asked for, in as many lines as a cell has room for."""
    return [
        *textwrap.wrap(original, LINE_CHARACTERS)[:1],
        *textwrap.wrap("> " + edit, LINE_CHARACTERS)[:2],
        *textwrap.wrap(edited, LINE_CHARACTERS)[:1],
    ]


def score_line(p: float, guidance: float, scores: Pair | Scores) -> str:
    """The four similarities and what was drawn."""
    return (
        f"text {scores.clip_sim_0:.3f} {scores.clip_sim_1:.3f}  direction {scores.clip_sim_dir:.2f}"
        f"  image {scores.clip_sim_image:.2f}  p {p:.2f}  s {guidance:.1f}"
    )


def cell(pictures: Sequence[Image.Image], lines: Sequence[str]) -> Image.Image:
    """Pictures side by side, their longer sides equal, lines of text below, the last one in grey."""
    drawn = Image.new("RGB", (len(pictures) * CELL_PX, CELL_PX + TEXT_PX), "white")
    for place, picture in enumerate(pictures):
        # Small pictures are shown pixel by pixel, so that nothing looks better than it is.
        longest = max(picture.size)
        method = Image.Resampling.NEAREST if longest < CELL_PX else Image.Resampling.LANCZOS
        width, height = (max(1, round(side * (CELL_PX - 2) / longest)) for side in picture.size)
        drawn.paste(picture.resize((width, height), method), (place * CELL_PX, 0))
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(FONT_PX)
    for row, line in enumerate(lines):
        shade = "black" if row < len(lines) - 1 else "#666666"
        pen.text((0, CELL_PX + 4 + row * (FONT_PX + 4)), line, fill=shade, font=font)
    return drawn


def grid(cells: Sequence[Image.Image], columns: int) -> bytes:
    """Cells of one size in rows, as a PNG file."""
    width = max((one.width for one in cells), default=CELL_PX) + MARGIN_PX
    height = max((one.height for one in cells), default=CELL_PX)
    rows = max(1, -(-len(cells) // columns))
    sheet = Image.new("RGB", (columns * width + MARGIN_PX, rows * height + MARGIN_PX), "white")
    for i, one in enumerate(cells):
        sheet.paste(one, (MARGIN_PX + i % columns * width, MARGIN_PX + i // columns * height))
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    return sink.getvalue()
