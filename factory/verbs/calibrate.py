"""The command `calibrate`: the gates of the miniature, by its oracle."""

from pathlib import Path
from typing import Annotated

import typer

from factory.console.command import command
from factory.console.config import load_config
from factory.console.options import (
    AsJson,
    ConfigFile,
    MiniaturePreset,
    Settings,
)
from factory.console.say import print_facts, print_json, say
from factory.models.find import placed_models
from factory.models.pin import pin
from factory.storage.places import check_file
from factory.verbs import machine

calibrate_app = typer.Typer(no_args_is_help=True)


@calibrate_app.command()
@command
def calibrate(
    out: Annotated[Path, typer.Option(help="Where to write the table.")] = Path("calibration.json"),
    count: Annotated[
        int, typer.Option(min=5, help="Triplets to choose on, and to report on.")
    ] = 100,
    preset: MiniaturePreset = "miniature",
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Choose the gates of the miniature by its oracle, and report them on other triplets."""
    from factory.miniature.calibration import GOAL, NotCalibrated, write_calibration
    from factory.miniature.calibration import calibrate as measure

    loaded = load_config(None if config else preset, config, settings or [])
    check_file("--out", out)
    machine.check_machine(loaded.compute)
    from factory.pairs.prompt_to_prompt import PromptToPrompt

    recipe = pin(loaded.recipe)
    engine = PromptToPrompt.for_compute(placed_models(recipe), loaded.compute)
    found = measure(engine, recipe, count)
    write_calibration(out, found)
    facts = found["thresholds"] | found["report"]
    (print_json if as_json else print_facts)(found if as_json else facts)
    if found["reached"]:
        return 0
    say(f"no gates reach the goal of {GOAL:.0%} true; these come nearest")
    return NotCalibrated.exit_code
