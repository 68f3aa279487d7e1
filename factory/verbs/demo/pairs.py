"""The demo: the main job on the miniature, timed and shown."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from factory.console.command import resumable
from factory.console.config import load_config
from factory.console.say import print_facts, say
from factory.errors import StorageError
from factory.ledger.plan import digest
from factory.ledger.status import status
from factory.models.find import MINIATURE
from factory.models.pin import pin
from factory.pairs.generate import prepare
from factory.pairs.sheet import contact_sheet, sealed_pairs
from factory.pairs.triplets import TripletList, read_triplets
from factory.verbs import machine
from factory.verbs.results import print_status
from factory.work.job import run_job
from factory.work.reports import Runner
from factory.work.stage import Stage
from schemas.canonical import content_hash
from schemas.config import Config

demo_app = typer.Typer(no_args_is_help=True)
Begin = Literal["triplets", "captions"]


@demo_app.command()
@resumable
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and the sheet.")] = Path("demo"),
    limit: Annotated[int, typer.Option(min=1, help="Triplets to make.")] = 12,
    begin: Annotated[
        Begin,
        typer.Option(
            "--from",
            help="`triplets` takes the bundled ones; `captions` has the embedded model write some, "
            "with `pip install 'editmill[serve]'`.",
        ),
    ] = "triplets",
) -> int:
    """The main job on the embedded miniature: a table, and a sheet to look at."""
    machine.check_machine(load_config("miniature").compute)
    if begin == "captions":
        from factory.verbs.demo.captions import written_triplets

        triplets = written_triplets(out, limit)
    else:
        triplets = TripletList(read_triplets("miniature").triplets[:limit])
    return demonstrate(out, triplets, machine.generate)


def demonstrate(
    out: Path, triplets: TripletList, make: Callable[[Config], tuple[Stage, Runner]]
) -> int:
    """Make pairs of the triplets, print the table and the path of the contact sheet."""
    started = time.monotonic()
    config = load_config("miniature")
    say(
        f"{len(triplets.triplets)} triplets x {config.recipe.candidates} candidates, "
        f"{config.recipe.steps} steps, on Ray"
    )
    # A folder per recipe and list, so that new weights never meet an old run.
    name = content_hash([pin(config.recipe).recipe_hash, digest(triplets.triplets)])[:8]
    run, plan = prepare(config, triplets, str(out / f"run-{name}"))
    stage, runner = make(config)
    result = run_job(stage, run, plan, config, runner)
    if result.sealed is None:
        raise StorageError(f"{run.uri}: {result.message}")
    state = status(run, plan)
    print_status(state)
    sheet = out / f"sheet-{name}.png"
    sheet.write_bytes(contact_sheet(sealed_pairs(run, result.sealed)))
    seconds = time.monotonic() - started
    rows = 4 * config.recipe.steps * state.outcomes
    made = result.units_made * config.recipe.unit_triplets
    print_facts(
        {
            "seconds": f"{seconds:.0f}",
            "UNet rows": rows if made else f"{rows} (made by an earlier start)",
            "manifest": result.manifest_hash,
            "contact sheet": f"{sheet} (one pair of each triplet)",
        }
    )
    say(maturity())
    return result.exit_code


def maturity() -> str:
    """What stands beside the shipped weights, in one line."""
    card = json.loads((MINIATURE / "card.json").read_text())
    gates = json.loads((MINIATURE / "calibration.json").read_text())["report"]
    figures, low = card["figures"], card["intervals_95"]["t2i_accuracy"][0]
    return (
        f"miniature: {card['state']}; by its oracle {figures['t2i_accuracy']:.1%} of "
        f"{card['captions']} held-out captions are sampled right (at least {low:.1%} with 95 % "
        f"confidence); its CLIP picks the right caption of 32 in {figures['clip_top1_of_32']:.1%}; "
        f"{gates['accepted_true']:.1%} of {gates['accepted']} pairs that its gates accept show "
        "their edit and nothing else (docs/miniature.md)"
    )
