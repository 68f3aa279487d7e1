"""The command `doctor`: before any money is spent, what could go wrong."""

from pathlib import Path

import typer

from factory.console.command import command
from factory.console.options import (
    AsJson,
    ConfigFile,
    Gpus,
    MaxBad,
    Preset,
    Price,
    Settings,
    SomeOut,
    SomeTriplets,
)
from factory.console.say import say
from factory.edits.listing import Wish
from factory.storage.places import check_file
from factory.verbs import machine
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
from factory.verbs.headline import headline
from factory.verbs.preset_choice import choose
from factory.verbs.results import print_findings

SHEET = Path("doctor.png")
"""Where an edit is shown."""
doctor_app = typer.Typer(no_args_is_help=True)


@doctor_app.command()
@command
def doctor(
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    triplets: SomeTriplets = None,
    images: Images = None,
    instruction: Instruction = None,
    source_caption: SourceCaption = None,
    target_caption: TargetCaption = None,
    requests: Requests = None,
    editor: Editor = None,
    pipeline: Pipeline = None,
    max_bad: MaxBad = 0,
    out: SomeOut = None,
    gpus: Gpus = None,
    price_per_gpu_hour: Price = None,
    as_json: AsJson = False,
) -> int:
    """Before any money is spent: load all, probe the store, make one batch, say what a run costs.

    With --images or --requests it is about `edit`: one of the pictures is edited, and shown in
    `doctor.png`.
    """
    if images is not None or requests is not None:
        wish = Wish(instruction, source_caption, target_caption)
        asked = AskedEdits(images, requests, wish, editor, pipeline)
        asked.check(out)
        check_file("the sheet", SHEET)
        edits = asked.choose(preset, config, settings or [], out)
        from factory.doctor.edits import EditOrder, examine_edits

        say(edits_headline(edits))
        recipe = edits.config.recipe
        edit_order = EditOrder(
            edits.config,
            lambda: asked.listed(recipe, max_bad),
            out,
            SHEET,
            gpus,
            price_per_gpu_hour,
        )
        found = examine_edits(edit_order, machine.device, machine.studio, say)
        return print_findings(found, as_json)
    from factory.doctor.examination import ExaminationOrder, examine

    choice = choose(preset, config, settings or [], triplets, out)
    order = ExaminationOrder(choice.config, triplets, max_bad, out, gpus, price_per_gpu_hour)
    say(headline(choice))
    return print_findings(
        examine(order, machine.device, machine.engine, say, machine.steps_of_other_sizes), as_json
    )
