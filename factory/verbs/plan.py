"""The command `plan`: what a list will take, before anything is started."""

import typer

from factory.console.amounts import counted
from factory.console.command import command
from factory.console.config import MINIATURE, preset_purposes
from factory.console.options import (
    AsJson,
    ConfigFile,
    Gpus,
    MaxBad,
    PlanPreset,
    Price,
    RowsPerS,
    Settings,
    SomeTriplets,
)
from factory.console.say import print_facts, print_json, say
from factory.edits.estimate import estimate_edits
from factory.edits.listing import Wish
from factory.errors import ConfigError
from factory.pairs.estimate import counts, estimate
from factory.pairs.triplets import TripletList, read_triplets
from factory.verbs.asked_edits import (
    AskedEdits,
    Editor,
    Images,
    Instruction,
    Pipeline,
    Requests,
    SourceCaption,
    TargetCaption,
)
from factory.verbs.asked_edits import headline as edits_headline
from factory.verbs.asked_edits import tell_of as tell_of_edits
from factory.verbs.headline import headline
from factory.verbs.preset_choice import choose

plan_app = typer.Typer(no_args_is_help=True)
_NEEDS_RATE = "time and cost need --rows-per-s, which `doctor` measures"


@plan_app.command()
@command
def plan(
    triplets: SomeTriplets = None,
    images: Images = None,
    instruction: Instruction = None,
    source_caption: SourceCaption = None,
    target_caption: TargetCaption = None,
    requests: Requests = None,
    editor: Editor = None,
    pipeline: Pipeline = None,
    preset: PlanPreset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    max_bad: MaxBad = 0,
    rows_per_s: RowsPerS = None,
    gpus: Gpus = None,
    price_per_gpu_hour: Price = None,
    as_json: AsJson = False,
) -> int:
    """Dry run: triplets, units, rows, hours, cost, storage. Starts nothing, writes nothing.

    Without a preset it counts triplets; all else depends on one. Hours and cost need --rows-per-s, which
    `doctor` measures. With --images or --requests it is about `edit`.
    """
    if images is not None or requests is not None:
        if triplets is not None:
            raise ConfigError("--triplets: must not be given with pictures to edit, got both")
        wish = Wish(instruction, source_caption, target_caption)
        asked = AskedEdits(images, requests, wish, editor, pipeline)
        asked.check(None)
        edits = asked.choose(preset, config, settings or [])
        listed = asked.listed(edits.config.recipe, max_bad)
        outlook = estimate_edits(edits.config, listed, rows_per_s, gpus, price_per_gpu_hour)
        if as_json:
            print_json(outlook.as_json())
            return 0
        say(edits_headline(edits))
        tell_of_edits(listed)
        print_facts(outlook.facts())
        if outlook.hours is None:
            say(_NEEDS_RATE)
        return 0
    if triplets is None:
        raise ConfigError("--triplets, --images or --requests: must be given, got none")
    if not (preset or config or settings or triplets == MINIATURE):
        return _count(triplets, max_bad, as_json)
    choice = choose(preset, config, settings or [], triplets)
    found = read_triplets(triplets, max_bad)
    if not as_json:
        say(headline(choice))
    tell_of(found)
    ahead = estimate(choice.config, found, rows_per_s, gpus=gpus, price=price_per_gpu_hour)
    if as_json:
        print_json(ahead.as_json())
    else:
        print_facts(ahead.facts())
        if ahead.hours is None:
            say(_NEEDS_RATE)
    return 0


def _count(uri: str, max_bad: int, as_json: bool) -> int:
    """What can be told of a list without a recipe."""
    found = read_triplets(uri, max_bad)
    tell_of(found)
    if as_json:
        print_json(counts(found))
    else:
        print_facts({name: n for name, n in counts(found).items() if n is not None})
        say(f"all else depends on --preset or --config; presets: {preset_purposes()}")
    return 0


def tell_of(triplets: TripletList) -> None:
    """Say what was left out of a list."""
    for line in triplets.bad:
        say(f"skipped: {line}")
    if triplets.duplicates:
        say(f"{counted(triplets.duplicates, 'duplicate triplet')} collapsed")
