"""The command `captions`: from captions to triplets, by a language model."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.captions.listing import CaptionList, Wanted, read_captions
from factory.console.amounts import counted
from factory.console.command import resumable
from factory.console.config import Choice, choose_config, must_be_given
from factory.console.options import AsJson, ConfigFile, MaxBad, iso_time, preset_option
from factory.console.say import Opening, say
from factory.verbs import machine
from factory.verbs.results import print_result
from factory.work.job import run_job
from schemas.captions import Captions

CAPTION_PRESETS = Path(__file__).parents[1] / "captions" / "presets"
captions_app = typer.Typer(no_args_is_help=True)


@captions_app.command()
@resumable
def captions(
    captions: Annotated[
        str,
        typer.Option(help="JSON lines, CSV, Parquet or text: a file or s3:// address."),
    ],
    out: Annotated[str, typer.Option(help="Where the run goes: a folder or s3:// prefix.")],
    column: Annotated[
        Optional[str], typer.Option(help="Column of the captions; unasked the first known one.")
    ] = None,
    least_aesthetic: Annotated[
        Optional[float],
        typer.Option(help="Leave out rows whose AESTHETIC_SCORE is smaller; the paper took 6.5."),
    ] = None,
    only_safe: Annotated[
        bool, typer.Option("--only-safe", help="Leave out rows that are marked NSFW.")
    ] = False,
    model: Annotated[Optional[str], typer.Option(help="The model, as its server calls it.")] = None,
    base_url: Annotated[
        Optional[str], typer.Option(help="Of an OpenAI-compatible server, to the `/v1`.")
    ] = None,
    preset: Annotated[Optional[str], preset_option("", CAPTION_PRESETS)] = None,
    config: ConfigFile = None,
    settings: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="key=value, e.g. recipe.per_caption=2; repeatable."),
    ] = None,
    max_bad: MaxBad = 0,
    extend: Annotated[
        bool, typer.Option(help="Append the captions that a longer list adds.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option(help="Ask again for what failed.")] = False,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="Take this many captions of the list, then end.")
    ] = None,
    deadline: Annotated[
        Optional[str], typer.Option(help="Stop at this ISO time; without a zone it is local.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Ask a language model for edits of captions, and keep the triplets that are right.

    Run it again to resume: no reply that was stored is asked for again. `generate --triplets OUT` takes
    what comes out. Exit codes: 0 done, 2 wrong input and nothing was started, 3 incomplete (run it again),
    4 a guard stopped it or not one triplet is right.
    """
    options = {
        "--model": ("recipe.model", model),
        "--base-url": ("compute.server.base_url", base_url),
        "--limit": ("budget.limit", limit),
        "--deadline": ("budget.deadline", deadline and iso_time(deadline, "--deadline")),
    }
    given = {name: f"{key}={value}" for name, (key, value) in options.items() if value is not None}
    choice = _choice(preset, config, settings or [], given)
    loaded, opening = choice.config, Opening(headline(choice))
    listed = read_captions(captions, Wanted(column, least_aesthetic, only_safe), max_bad)
    _tell_of(listed)
    from factory.captions.captions import captions_stage
    from factory.captions.prepare import prepare

    run, plan = prepare(loaded, out, listed, extend=extend, retry_failed=retry_failed)
    opening.begin()
    stage = captions_stage()
    result = run_job(stage, run, plan, loaded, machine.runner(stage, loaded.compute))
    from factory.ledger.status import status as read_status

    state = read_status(run, plan, result.book)
    money = loaded.budget.money(state.tally.marks)
    if money is not None and not as_json:
        say(f"tokens cost {money:.2f} by the prices of budget.price_in and price_out")
    print_result(state, result, as_json)
    return result.exit_code


def _choice(
    preset: str | None, file: Path | None, settings: list[str], given: dict[str, str]
) -> Choice[Captions]:
    def unasked() -> tuple[str, str]:
        raise must_be_given("for a language model", CAPTION_PRESETS)

    return choose_config(
        Captions, CAPTION_PRESETS, preset, file, settings, options=given, unasked=unasked
    )


def headline(choice: Choice[Captions]) -> str:
    """Where the configuration is from, the model, its server, how much is asked."""
    recipe, server = choice.config.recipe, choice.config.compute.server
    return choice.line(
        f"{recipe.model} at {server.base_url}, {recipe.form}, "
        f"{counted(recipe.per_caption, 'instruction')} a caption"
    )


def _tell_of(listed: CaptionList) -> None:
    for line in listed.bad:
        say(f"skipped: {line}")
    if listed.duplicates:
        say(f"{counted(listed.duplicates, 'duplicate caption')} collapsed")
    if listed.filtered:
        say(f"{counted(listed.filtered, 'caption')} left out by their score or mark")
