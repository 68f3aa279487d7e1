"""The demo of bulk edits: a folder of pictures, each told something else, edited and shown."""

import json
import random
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from factory.console.command import resumable
from factory.console.config import EDIT_PRESETS, read_config
from factory.console.say import print_facts, say
from factory.edits.edit import edit_stage
from factory.edits.listing import canonical, read_requests
from factory.edits.prepare import prepare
from factory.edits.sheet import edit_sheet
from factory.errors import StorageError
from factory.ledger.status import status
from factory.miniature import world
from factory.models.find import MINIATURE
from factory.verbs import machine
from factory.verbs.results import print_status
from factory.work.job import run_job
from schemas.edits import Edits

demo_edit_app = typer.Typer(no_args_is_help=True)
SIZES = ((64, 64), (96, 64), (64, 96), (150, 100))
"""Of the demo's pictures in turn, pixels."""
ENDINGS = ("png", "jpg", "webp")
NOTE = "No picture: what is none becomes a row with its reason.\n"


@demo_edit_app.command("demo-edit")
@resumable
def demo_edit(
    out: Annotated[Path, typer.Option(help="Folder for pictures, edits and the sheet.")] = Path(
        "demo"
    ),
    count: Annotated[int, typer.Option(min=1, max=200, help="Pictures to draw and edit.")] = 12,
) -> int:
    """Bulk edits on the embedded miniature: pictures drawn, edited as each is told, and a sheet."""
    started = time.monotonic()
    config = read_config(Edits, EDIT_PRESETS, "miniature")
    machine.check_machine(config.compute)
    pictures, edits = out / "pictures", out / f"edits-{count}"
    draw_pictures(pictures, count)
    recipe = config.recipe.model_copy(update={"images": canonical(str(pictures))})
    config = config.model_copy(update={"recipe": recipe})
    say(f"{count} pictures and a note, {recipe.of(recipe.editor).steps} steps each, on Ray")  # type: ignore[union-attr]
    requests = pictures / f"requests-{count}.jsonl"
    run, plan, _ = prepare(config, str(edits), lambda: read_requests(str(requests), recipe))
    stage = edit_stage(machine.load_studio)
    result = run_job(stage, run, plan, config, machine.runner(stage, config.compute))
    if result.sealed is None:
        raise StorageError(f"{run.uri}: {result.message}")
    print_status(status(run, plan))
    say(result.message)
    sheet = out / f"edits-{count}.png"
    sheet.write_bytes(edit_sheet(run, plan, count))
    seconds = f"{time.monotonic() - started:.0f}"
    print_facts({"seconds": seconds, "edited pictures": edits, "contact sheet": sheet})
    say(maturity())
    return result.exit_code


def maturity() -> str:
    """What stands beside the shipped editor, in one line."""
    figures = json.loads((MINIATURE / "editor_card.json").read_text())["figures"]
    return (
        f"miniature/editor: small, and trained on square pictures alone; by its oracle "
        f"{figures['edit_accuracy']:.0%} of {figures['edits']} edits of those are done and the rest kept "
        "(docs/miniature.md)"
    )


def draw_pictures(folder: Path, count: int) -> None:
    """Held-out scenes of the world in several sizes and formats, a note, and the list of what to change."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, captions = random.Random("demo of edits"), world.held_out_captions()
    rng.shuffle(captions)
    lines = []
    for number in range(count):
        before = world.place(world.parse_caption(captions[number % len(captions)]), rng)
        kind = world.EDIT_KINDS[number % len(world.EDIT_KINDS)]
        told = world.instruction(kind, before, world.edit(before, kind, rng), rng)
        name = f"{number:03d}.{ENDINGS[number % len(ENDINGS)]}"
        picture = Image.fromarray(np.asarray(world.render(before)))
        picture.resize(SIZES[number % len(SIZES)], Image.Resampling.LANCZOS).save(folder / name)
        lines.append({"image": name, "instruction": told})
    (folder / "note.txt").write_text(NOTE)
    lines.append({"image": "note.txt", "instruction": "make it night"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"requests-{count}.jsonl").write_text(text)
