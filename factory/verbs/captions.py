"""The command `captions`: from captions to triplets, by a language model."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.captions.listing import CaptionList, Wanted, read_captions
from factory.console.amounts import counted
from factory.console.check import CheckOnly
from factory.console.command import resumable
from factory.console.config import CAPTION_PRESETS, Choice, choose_config, must_be_given
from factory.console.options import AsJson, ConfigFile, MaxBad, iso_time, preset_option
from factory.console.say import Opening, say
from factory.console.signals import INTERRUPTED, Drain
from factory.errors import EditmillError
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.verbs import machine
from factory.verbs.results import print_result
from factory.work.guards import Guards
from factory.work.job import run_job
from schemas.captions import CAPTIONS, Captions

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
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", help="Hand requests over by OpenAI's batch API: half the price, up to a day."
        ),
    ] = False,
    check: CheckOnly = False,
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
    wanted = Wanted(column, least_aesthetic, only_safe)

    def chosen() -> Choice[Captions]:
        return _choice(preset, config, settings or [], given)

    if check:
        from factory.verbs.checks import check_captions

        return check_captions(captions, wanted, max_bad, chosen, out, extend)
    choice = chosen()
    loaded, opening = choice.config, Opening(headline(choice))
    listed = read_captions(captions, wanted, max_bad)
    tell_of_captions(listed)
    machine.check_machine(loaded.compute)
    from factory.captions.captions import captions_stage
    from factory.captions.prepare import prepare
    from factory.captions.prices import keep_prices

    run, plan = prepare(loaded, out, listed, extend=extend, retry_failed=retry_failed)
    keep_prices(run, loaded.budget)
    opening.begin()
    if batch and not _is_gathered(run, plan, loaded):
        say(INTERRUPTED)
        return EditmillError.exit_code
    stage = captions_stage()
    result = run_job(stage, run, plan, loaded, machine.runner(stage, loaded.compute))
    from factory.ledger.status import status as read_status

    state = read_status(run, plan, result.book)
    print_result(state, result, as_json)
    return result.exit_code


def _is_gathered(run: Run, plan: Plan, config: Captions) -> bool:
    """Bring by batches what they can; False where a signal ended it."""
    from factory.captions.batches import Batches, open_captions
    from factory.ledger.status import status as read_status

    guards = Guards(CAPTIONS, config.budget, config.compute, held=0)
    with Drain() as drain:
        watched = config.budget.watches_marks
        spent = read_status(run, plan).tally.marks if watched else {}
        batches = Batches(
            run,
            config.compute.server,
            config.budget,
            dict(spent),
            say,
            should_stop=lambda: drain.asked or guards.stop() is not None,
        )
        batches.gather(open_captions(run, plan, config.budget.limit))
        # That a guard stopped it is the job's to tell.
        return not drain.asked


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


def tell_of_captions(listed: CaptionList) -> None:
    """Say what was left out of a list."""
    for line in listed.bad:
        say(f"skipped: {line}")
    if listed.duplicates:
        say(f"{counted(listed.duplicates, 'duplicate caption')} collapsed")
    if listed.filtered:
        say(f"{counted(listed.filtered, 'caption')} left out by their score or mark")
