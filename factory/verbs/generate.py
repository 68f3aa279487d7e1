"""The command `generate`: the main job, from a list of triplets to a sealed run of pairs."""

from functools import partial
from typing import Annotated, Optional

import typer

from factory.console.check import CheckOnly
from factory.console.command import resumable
from factory.console.options import (
    AsJson,
    ConfigFile,
    MaxBad,
    Preset,
    Settings,
    Triplets,
    iso_time,
)
from factory.console.say import Opening
from factory.models.find import model_sources, still_to_fetch
from factory.pairs.generate import prepare
from factory.pairs.triplets import read_triplets
from factory.verbs import machine
from factory.verbs.headline import headline
from factory.verbs.plan import tell_of
from factory.verbs.preset_choice import choose
from factory.verbs.results import print_result
from factory.work.job import run_job

generate_app = typer.Typer(no_args_is_help=True)


@generate_app.command()
@resumable
def generate(
    triplets: Triplets,
    out: Annotated[str, typer.Option(help="The run: a folder or s3://bucket/prefix.")],
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    max_bad: MaxBad = 0,
    extend: Annotated[bool, typer.Option(help="Append what a longer list adds.")] = False,
    retry_failed: Annotated[
        bool, typer.Option(help="Make units again of which not one candidate could be made.")
    ] = False,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="Make this many triplets of the list, then end.")
    ] = None,
    target_pairs: Annotated[
        Optional[int], typer.Option(min=1, help="End once the run holds this many pairs.")
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
    """The main job: make pairs, keep those that pass. Run it again to resume.

    Exit codes: 0 done, 2 wrong input and nothing was started, 3 incomplete (run it again), 4 a guard
    stopped it or a whole run kept nothing.
    """
    budget = {
        "limit": limit,
        "target_pairs": target_pairs,
        "max_gpu_hours": max_gpu_hours,
        "deadline": deadline and iso_time(deadline, "--deadline"),
    }
    options = {
        f"--{name.replace('_', '-')}": f"budget.{name}={value}"
        for name, value in budget.items()
        if value is not None
    }
    chosen = partial(choose, preset, config, settings or [], triplets, out, options)
    if check:
        from factory.verbs.checks import check_generate

        return check_generate(triplets, max_bad, chosen, out, extend)
    # A list that cannot be read is said before a preset is asked for, settings before the list is read.
    is_given = preset is not None or config is not None
    wanted = None if is_given else read_triplets(triplets, max_bad)
    choice = chosen()
    loaded, opening = choice.config, Opening(headline(choice))
    wanted = wanted or read_triplets(triplets, max_bad)
    machine.check_machine(loaded.compute)
    for line in still_to_fetch(model_sources(loaded.recipe)):
        opening(line)
    run, planned = prepare(loaded, wanted, out, extend=extend, retry_failed=retry_failed)
    opening.begin()
    tell_of(wanted)
    stage, runner = machine.generate(loaded)
    result = run_job(stage, run, planned, loaded, runner)
    from factory.ledger.status import status as read_status

    print_result(read_status(run, planned, result.book), result, as_json)
    return result.exit_code
