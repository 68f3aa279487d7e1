"""Draw the sheets of docs/miniature.md from the shipped weights: the first of fixed lists, none chosen.

python benchmarks/miniature_sheets.py        (from the repository's root; minutes)
"""

import io
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from factory.console.config import load_config  # noqa: E402
from factory.miniature import world  # noqa: E402
from factory.miniature.calibration import triplet_sets  # noqa: E402
from factory.miniature.oracle import ATTRIBUTES, judge, matches, read  # noqa: E402
from factory.models.find import MINIATURE, placed_models  # noqa: E402
from factory.models.pin import pin  # noqa: E402
from factory.pairs.prompt_to_prompt import PromptToPrompt  # noqa: E402
from factory.pairs.selection import failed_gates  # noqa: E402
from factory.pairs.sheet import (  # noqa: E402
    CELL_PX,
    FONT_PX,
    MARGIN_PX,
    TEXT_PX,
    cell,
    grid,
    prompt_lines,
    score_line,
)
from factory.pairs.source import Draw, Made, draws  # noqa: E402
from trainer.miniature.accuracy import sample  # noqa: E402
from trainer.miniature.card import sampling_recipe  # noqa: E402

FOLDER = ROOT / "docs" / "miniature"
SHARED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def said(picture: Image.Image, caption: str) -> str:
    """What the oracle reads, where it is not what the caption says."""
    pixels = np.asarray(picture)
    if matches(pixels, caption):
        return "right"
    reading = read(pixels)
    if reading is None:
        return "WRONG: unreadable"
    scene = world.parse_caption(caption)
    wrong = [n for n in ATTRIBUTES if getattr(reading, n) != getattr(scene, n)]
    return "WRONG: " + ", ".join(f"{n} {getattr(reading, n) or 'none'}" for n in wrong)


def text_to_image() -> bytes:
    """The first 32 held-out captions."""
    engine = PromptToPrompt(sampling_recipe(MINIATURE), device="cpu", threads=1)
    captions = world.held_out_captions()[:32]
    cells = []
    for caption, pixels in sample(engine, captions).items():
        picture = Image.fromarray(pixels)
        lines = textwrap.wrap(caption, 27)
        cells.append((captions.index(caption), cell([picture], [*lines, said(picture, caption)])))
    return grid([drawn for _, drawn in sorted(cells, key=lambda one: one[0])], columns=8)


def over_p(engine: PromptToPrompt, count: int = 12) -> bytes:
    """The same noise at six values of p; p = 0 shares no attention."""
    recipe = engine.recipe.model_copy(update={"candidates": 1})
    wanted = [draw for t in triplet_sets(count)[1] for draw in draws(recipe, t)]
    made = make(engine, [replace(draw, p=p) for draw in wanted for p in SHARED])
    cells = []
    for i in range(count):
        row = made[i * len(SHARED) : (i + 1) * len(SHARED)]
        triplet = row[0].draw.triplet
        words = (triplet.original_prompt, triplet.edit_prompt, triplet.edited_prompt)
        pictures = [Image.fromarray(row[0].original)] + [Image.fromarray(m.edited) for m in row]
        shared = "  ".join(f"p {m.draw.p:.1f} {'true' if is_true(m) else 'not true'}" for m in row)
        cells.append(cell(pictures, [*prompt_lines(*words), f"original, then {shared}"]))
    return grid(cells, columns=1)


def is_true(made: Made) -> bool:
    triplet = made.draw.triplet
    return judge(made.original, made.edited, triplet.original_prompt, triplet.edited_prompt).true


def judged(engine: PromptToPrompt, *, passing: bool, count: int = 24) -> bytes:
    """The first candidate of the first triplets that passes the gates, or that does not."""
    recipe, cells = engine.recipe, []
    for triplet in triplet_sets(120)[1]:
        made = make(engine, draws(recipe, triplet)[:4])
        for one in made:
            failed = failed_gates(one.scores, recipe.thresholds)
            if bool(failed) == passing:
                continue
            words = (triplet.original_prompt, triplet.edit_prompt, triplet.edited_prompt)
            names = ", ".join(name.removeprefix("clip_sim_") for name in failed)
            verdict = f"rejected by {names}" if failed else "accepted"
            truth = "true" if is_true(one) else "NOT TRUE"
            lines = [
                *prompt_lines(*words),
                f"{verdict}; the oracle says {truth}",
                score_line(one.draw.p, one.draw.guidance, one.scores),
            ]
            pictures = [Image.fromarray(one.original), Image.fromarray(one.edited)]
            cells.append(cell(pictures, lines))
            break
        if len(cells) == count:
            break
    return grid(cells, columns=4)


def make(engine: PromptToPrompt, wanted: Sequence[Draw]) -> list[Made]:
    """In the order asked for."""
    done = {}
    for outcome in engine.pairs(wanted):
        assert isinstance(outcome, Made), outcome
        done[outcome.draw.seed, outcome.draw.p] = outcome
    return [done[draw.seed, draw.p] for draw in wanted]


def front() -> bytes:
    """The README's picture: the first row of two sheets, under what they are."""
    height, space = CELL_PX + TEXT_PX, 2 * FONT_PX
    rows = (
        ("accepted", "pairs that generate made and kept"),
        ("edits", "edits by the editor trained on such pairs"),
    )
    sheets = [(Image.open(FOLDER / f"{name}.png"), words) for name, words in rows]
    page = Image.new("RGB", (sheets[0][0].width, len(rows) * (height + space)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PX + 3)
    for row, (sheet, words) in enumerate(sheets):
        top = row * (height + space)
        pen.text((MARGIN_PX, top + 4), words, fill="black", font=font)
        page.paste(sheet.crop((0, MARGIN_PX, sheet.width, MARGIN_PX + height)), (0, top + space))
    sink = io.BytesIO()
    page.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "text_to_image.png").write_bytes(text_to_image())
    config = load_config("miniature")
    engine = PromptToPrompt.for_compute(placed_models(pin(config.recipe)), config.compute)
    (FOLDER / "over_p.png").write_bytes(over_p(engine))
    (FOLDER / "accepted.png").write_bytes(judged(engine, passing=True))
    (FOLDER / "rejected.png").write_bytes(judged(engine, passing=False))
    (FOLDER / "front.png").write_bytes(front())


if __name__ == "__main__":
    main()
