"""The command `edit`: every picture of a folder or bucket, to keys of the same names."""

from functools import partial
from typing import Annotated, Optional

import typer

from factory.console.amounts import counted
from factory.console.check import CheckOnly
from factory.console.command import resumable
from factory.console.options import AsJson, ConfigFile, MaxBad, iso_time
from factory.console.say import Opening, say
from factory.edits.edit import batching_of, edit_stage
from factory.edits.listing import Wish
from factory.edits.prepare import listed_before, prepare
from factory.models.find import still_to_fetch
from factory.verbs import machine
from factory.verbs.asked_edits import (
    AskedEdits,
    Editor,
    EditPreset,
    EditSettings,
    Images,
    Instruction,
    Pipeline,
    Requests,
    SourceCaption,
    TargetCaption,
    headline,
    models_of,
    tell_of,
)
from factory.verbs.results import print_result
from factory.work.job import run_job

edit_app = typer.Typer(no_args_is_help=True)


@edit_app.command()
@resumable
def edit(
    out: Annotated[str, typer.Option(help="Where edited pictures go: a folder or s3:// prefix.")],
    images: Images = None,
    instruction: Instruction = None,
    source_caption: SourceCaption = None,
    target_caption: TargetCaption = None,
    requests: Requests = None,
    editor: Editor = None,
    pipeline: Pipeline = None,
    on_existing: Annotated[
        Optional[str],
        typer.Option(help="skip or fail, where something that is not this run's stands at a key."),
    ] = None,
    preset: EditPreset = None,
    config: ConfigFile = None,
    settings: EditSettings = None,
    max_bad: MaxBad = 0,
    extend: Annotated[
        bool,
        typer.Option(
            help="List again, and append the pictures that are new; of those before some may be gone."
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option(help="Edit again what failed, and nothing else.")
    ] = False,
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="Edit this many pictures of the list, or a few more to fill a unit, then end.",
        ),
    ] = None,
    max_gpu_hours: Annotated[
        Optional[float], typer.Option(help="Stop after so many, those of this start.")
    ] = None,
    deadline: Annotated[
        Optional[str], typer.Option(help="Stop at this ISO time; without a zone it is local.")
    ] = None,
    as_json: AsJson = False,
    check: CheckOnly = False,
) -> int:
    """Edit every picture of a folder or bucket. Run it again to resume.

    A table says of each what became of it: `OUT/_editmill/finish/`, as the README reads it. Exit codes: 0
    done, 2 wrong input and nothing was started, 3 incomplete (run it again), 4 a guard stopped it or not
    one picture was edited.
    """
    options = {
        "--on-existing": ("recipe.on_existing", on_existing),
        "--limit": ("budget.limit", limit),
        "--max-gpu-hours": ("budget.max_gpu_hours", max_gpu_hours),
        "--deadline": ("budget.deadline", deadline and iso_time(deadline, "--deadline")),
    }
    given = {name: f"{key}={value}" for name, (key, value) in options.items() if value is not None}
    wish = Wish(instruction, source_caption, target_caption)
    asked = AskedEdits(images, requests, wish, editor, pipeline)
    chosen = partial(asked.choose, preset, config, settings or [], out, given)
    if check:
        from factory.verbs.checks import check_edit

        return check_edit(asked, max_bad, chosen, out, extend)
    asked.check(out)
    choice = chosen()
    loaded, recipe, opening = choice.config, choice.config.recipe, Opening(headline(choice))
    machine.check_machine(loaded.compute)
    for line in still_to_fetch(models_of(loaded)):
        opening(line)
    known = requests is None and not extend and listed_before(out, wish, recipe)
    run, plan, found = prepare(
        loaded,
        out,
        None if known else lambda: asked.listed(recipe, max_bad),
        extend=extend,
        retry_failed=retry_failed,
    )
    opening.begin()
    if found is not None:
        tell_of(found)
    else:
        say(
            f"goes on with the {counted(plan.record.items, 'picture')} that were listed when it was begun; "
            "--extend adds what has come since"
        )
    stage = edit_stage(machine.load_studio)
    result = run_job(stage, run, plan, loaded, machine.runner(stage, loaded.compute))
    from factory.ledger.status import status as read_status

    # In this process the editor has said so itself.
    away = loaded.compute.pipeline_images > 1 and loaded.compute.where == "ray"
    if away and (batching := batching_of(run, plan)):
        say(f"editor diffusers: {batching}")
    print_result(read_status(run, plan, result.book), result, as_json)
    return result.exit_code
