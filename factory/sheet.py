"""A contact sheet: accepted pairs as a person looks at them, original beside edited."""

import io
import textwrap
from collections.abc import Iterator
from itertools import islice

from PIL import Image, ImageDraw, ImageFont

from factory.manifest import unit_lines
from factory.run import Run
from schemas.arrow import from_parquet
from schemas.commit import Manifest
from schemas.pair import Pair

CELL_PX = 192
TEXT_PX = 96
MARGIN_PX = 12
FONT_PX = 13


def sealed_pairs(run: Run, manifest: Manifest) -> Iterator[Pair]:
    """Every pair of a sealed run, in unit order."""
    for line in unit_lines(run, manifest):
        if line.pairs_key is not None:
            yield from from_parquet(Pair, run.store.get(line.pairs_key))[0]


def contact_sheet(pairs: Iterator[Pair], count: int = 24, columns: int = 4) -> bytes:
    """The first pair of each of the first `count` triplets, as a PNG file."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.triplet_id, pair)
        if len(first) == count:
            break
    chosen = list(islice(first.values(), count))
    width, height = 2 * CELL_PX + MARGIN_PX, CELL_PX + TEXT_PX
    rows = max(1, -(-len(chosen) // columns))
    sheet = Image.new("RGB", (columns * width + MARGIN_PX, rows * height + MARGIN_PX), "white")
    for i, pair in enumerate(chosen):
        cell = _cell(pair)
        sheet.paste(cell, (MARGIN_PX + i % columns * width, MARGIN_PX + i // columns * height))
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    return sink.getvalue()


def _cell(pair: Pair) -> Image.Image:
    cell = Image.new("RGB", (2 * CELL_PX, CELL_PX + TEXT_PX), "white")
    for place, stored in enumerate((pair.original_image, pair.edited_image)):
        picture = Image.open(io.BytesIO(stored.bytes)).convert("RGB")
        # Small pictures are shown pixel by pixel, so that nothing looks better than it is.
        enlarges = picture.width < CELL_PX
        method = Image.Resampling.NEAREST if enlarges else Image.Resampling.LANCZOS
        cell.paste(picture.resize((CELL_PX - 2, CELL_PX - 2), method), (place * CELL_PX, 0))
    pen = ImageDraw.Draw(cell)
    scores = (
        f"text {pair.clip_sim_0:.3f} {pair.clip_sim_1:.3f}  direction {pair.clip_sim_dir:.2f}  "
        f"image {pair.clip_sim_image:.2f}  p {pair.p2p_threshold:.2f}  s {pair.cfg_scale:.1f}"
    )
    lines = [
        *textwrap.wrap(pair.original_prompt, 62)[:1],
        *textwrap.wrap("> " + pair.edit_prompt, 62)[:2],
        *textwrap.wrap(pair.edited_prompt, 62)[:1],
        scores,
    ]
    font = ImageFont.load_default(FONT_PX)
    for row, line in enumerate(lines):
        shade = "black" if line is not scores else "#666666"
        pen.text((0, CELL_PX + 4 + row * (FONT_PX + 4)), line, fill=shade, font=font)
    return cell
