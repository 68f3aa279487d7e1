"""The command `edit`: every picture of a folder or bucket, to keys of the same names."""

from typing import Annotated, Optional

import typer

from factory.console.amounts import counted
from factory.console.command import resumable
from factory.console.config import EDIT_PRESETS, Choice, choose_config, must_be_given
from factory.console.options import EDITS, AsJson, ConfigFile, MaxBad, iso_time, preset_option
from factory.console.say import Opening, say
from factory.edits.edit import edit_stage
from factory.edits.listing import (
    Listed,
    Wish,
    canonical,
    list_images,
    open_images,
    place_of,
    read_requests,
)
from factory.edits.prepare import check_places, listed_before, prepare
from factory.errors import ConfigError
from factory.models.find import Role, still_to_fetch
from factory.verbs import machine
from factory.verbs.results import print_result
from factory.work.job import run_job
from schemas.edits import Edits
from schemas.recipe import ModelSource

edit_app = typer.Typer(no_args_is_help=True)

EditPreset = Annotated[
    Optional[str], preset_option(f"{EDITS}; may be left out where the run is there.", EDIT_PRESETS)
]
EditSettings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        help="key=value, e.g. recipe.ip2p.steps=25; repeatable; `config show --of edit` lists all.",
    ),
]


@edit_app.command()
@resumable
def edit(
    out: Annotated[str, typer.Option(help="Where edited pictures go: a folder or s3:// prefix.")],
    images: Annotated[
        Optional[str],
        typer.Option(
            help="Pictures: a folder or s3:// prefix; of --requests, what keys lie below."
        ),
    ] = None,
    instruction: Annotated[
        Optional[str], typer.Option(help="What to change in every picture.")
    ] = None,
    target_caption: Annotated[
        Optional[str], typer.Option(help="What every picture should show, for sdedit.")
    ] = None,
    requests: Annotated[
        Optional[str],
        typer.Option(
            help="A list instead: JSONL, CSV or Parquet of image, instruction, seed and more."
        ),
    ] = None,
    editor: Annotated[
        Optional[str], typer.Option(help="ip2p or sdedit, where a request names none.")
    ] = None,
    on_existing: Annotated[
        Optional[str],
        typer.Option(help="skip or fail, where something that is not this run's stands at a key."),
    ] = None,
    preset: EditPreset = None,
    config: ConfigFile = None,
    settings: EditSettings = None,
    max_bad: MaxBad = 0,
    extend: Annotated[
        bool, typer.Option(help="List again, and append the pictures that are new.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option(help="Edit again what failed, and nothing else.")
    ] = False,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="Edit this many pictures of the list, then end.")
    ] = None,
    max_gpu_hours: Annotated[
        Optional[float], typer.Option(help="Stop after so many, those of this start.")
    ] = None,
    deadline: Annotated[
        Optional[str], typer.Option(help="Stop at this ISO time; without a zone it is local.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Edit every picture of a folder or bucket. Run it again to resume.

    A table says of each what became of it: `OUT/_editmill/finish/`, as the README reads it. Exit codes: 0
    done, 2 wrong input and nothing was started, 3 incomplete (run it again), 4 a guard stopped it or not
    one picture was edited.
    """
    wish = Wish(instruction=instruction, target_caption=target_caption)
    _check_what(images, requests, wish)
    place = images or place_of(requests or "")
    options = {
        "--editor": ("recipe.editor", editor),
        "--on-existing": ("recipe.on_existing", on_existing),
        "--limit": ("budget.limit", limit),
        "--max-gpu-hours": ("budget.max_gpu_hours", max_gpu_hours),
        "--deadline": ("budget.deadline", deadline and iso_time(deadline, "--deadline")),
    }
    given = {name: f"{key}={value}" for name, (key, value) in options.items() if value is not None}
    open_images(place)
    check_places(place, out)
    choice = choose_config(
        Edits, EDIT_PRESETS, preset, config, settings or [], options=given, unasked=_unasked
    )
    recipe = choice.config.recipe.model_copy(update={"images": canonical(place)})
    loaded, opening = choice.config.model_copy(update={"recipe": recipe}), Opening(headline(choice))
    machine.check_machine(loaded.compute)
    for line in still_to_fetch(_models(loaded)):
        opening(line)

    def listed() -> Listed:
        if requests is not None:
            return read_requests(requests, recipe, max_bad)
        return list_images(recipe, wish)

    known = requests is None and not extend and listed_before(out, wish, recipe)
    run, plan, found = prepare(
        loaded, out, None if known else listed, extend=extend, retry_failed=retry_failed
    )
    opening.begin()
    if found is not None:
        _tell_of(found)
    stage = edit_stage(machine.load_studio)
    result = run_job(stage, run, plan, loaded, machine.runner(stage, loaded.compute))
    from factory.ledger.status import status as read_status

    print_result(read_status(run, plan, result.book), result, as_json)
    return result.exit_code


def _check_what(images: str | None, requests: str | None, wish: Wish) -> None:
    asked = [name for name, value in wish.fields.items() if value is not None]
    if requests is None and images is None:
        raise ConfigError("--images or --requests: must be given, got neither")
    if requests is None and not asked:
        raise ConfigError("--instruction: must be given with --images, got none")
    if requests is not None and asked:
        raise ConfigError(
            f"--{asked[0].replace('_', '-')}: must stand in --requests where that is given, got both"
        )


def _unasked() -> tuple[str, str]:
    raise must_be_given("for pictures of your own", EDIT_PRESETS)


def headline(choice: Choice[Edits]) -> str:
    """Where the configuration is from, the editor, its model, the size."""
    recipe = choice.config.recipe
    settings = recipe.of(recipe.editor)
    assert settings is not None
    return choice.line(
        f"{recipe.editor} by {settings.model.source}, {recipe.size_px} px, {settings.steps} steps"
    )


def _models(config: Edits) -> list[tuple[str, ModelSource, Role]]:
    settings = config.recipe.of(config.recipe.editor)
    assert settings is not None
    return [(f"{config.recipe.editor}.model", settings.model, "text_to_image")]


def _tell_of(listed: Listed) -> None:
    for line in listed.bad:
        say(f"skipped: {line}")
    if listed.duplicates:
        say(f"{counted(listed.duplicates, 'duplicate request')} collapsed")
