"""The factory's commands."""

from factory.console.signals import answer_signals

if __name__ == "__main__":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.console.command import command
from factory.console.config import load_config
from factory.console.options import (
    AsJson,
    ConfigFile,
    Gpus,
    MaxBad,
    MiniaturePreset,
    Preset,
    Price,
    Settings,
    SomeOut,
    SomeTriplets,
    Triplets,
    iso_time,
)
from factory.console.places import check_file
from factory.console.say import Opening, print_facts, print_json, say
from factory.doctor.finding import Device, MeasuredSource
from factory.models.find import model_sources, still_to_fetch
from factory.pairs.source import Draw
from factory.pairs.triplets import read_triplets
from factory.verbs.config import config_app
from factory.verbs.headline import headline
from factory.verbs.plan import plan_app, tell_of
from factory.verbs.preset_choice import choose
from factory.verbs.results import print_findings, print_result
from factory.verbs.runs import run_app
from factory.work.job import prepare, run_job
from factory.work.reports import Runner
from schemas.config import Compute, Config
from schemas.fit import Where
from schemas.recipe import Recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Captions to triplets, triplets to before/after pairs, pairs to a dataset.",
)
app.add_typer(config_app, name="config")
app.add_typer(plan_app)
app.add_typer(run_app)


def _runner(config: Config) -> Runner:
    """Here or on Ray; torch and ray are imported only now."""
    if config.compute.where == "ray":
        from factory.on_ray.generate import run_on_ray

        return run_on_ray
    from factory.work.plain_loop import run_here

    return run_here(lambda run: _engine(run.recipe, config.compute))


def _engine(recipe: Recipe, compute: Compute) -> MeasuredSource:
    from factory.engine.engine import Engine

    return Engine.for_compute(recipe, compute)


def _steps(
    source: MeasuredSource, draws: Sequence[Draw]
) -> AbstractContextManager[Callable[[int], float]]:
    from factory.engine.engine import Engine
    from factory.engine.rates import steps_of_other_sizes

    assert isinstance(source, Engine)
    return steps_of_other_sizes(source, draws)


def _device(name: str) -> Device:
    from factory.engine.device import find_device

    return find_device(name)


def check_machine(compute: Compute | Where) -> None:
    """Refuse a device that is not here, or Ray where it cannot be started, before anything is begun."""
    if compute.where == "ray":
        from factory.on_ray.own_ray import check_start

        check_start()
    # Torch is asked only where it must be.
    on_cpu = compute.device == "cpu" and (compute.where == "here" or not compute.gpus_per_worker)
    if compute.device != "auto" and not on_cpu:
        from factory.engine.device import check_device

        check_device(compute)


@app.command()
@command
def doctor(
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    triplets: SomeTriplets = None,
    max_bad: MaxBad = 0,
    out: SomeOut = None,
    gpus: Gpus = None,
    price_per_gpu_hour: Price = None,
    as_json: AsJson = False,
) -> int:
    """Before any money is spent: load all, probe the store, make one batch, say what a run costs."""
    from factory.doctor.examination import Order, examine

    choice = choose(preset, config, settings or [], triplets, out)
    order = Order(choice.config, triplets, max_bad, out, gpus, price_per_gpu_hour)
    say(headline(choice))
    return print_findings(examine(order, _device, _engine, say, _steps), as_json)


@app.command()
@command
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
    # A list that cannot be read is said before a preset is asked for, settings before the list is read.
    is_given = preset is not None or config is not None
    wanted = None if is_given else read_triplets(triplets, max_bad)
    choice = choose(preset, config, settings or [], triplets, out, options)
    loaded, opening = choice.config, Opening(headline(choice))
    wanted = wanted or read_triplets(triplets, max_bad)
    check_machine(loaded.compute)
    for line in still_to_fetch(
        [(source, role) for _, source, role in model_sources(loaded.recipe)]
    ):
        opening(line)
    run, planned = prepare(loaded, wanted, out, extend=extend, retry_failed=retry_failed)
    opening.begin()
    tell_of(wanted)
    result = run_job(run, planned, loaded, _runner(loaded))
    from factory.ledger.status import status as read_status

    print_result(read_status(run, planned, result.book), result, as_json)
    return result.exit_code


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and the sheet.")] = Path("demo"),
    limit: Annotated[int, typer.Option(min=1, help="Bundled triplets to make.")] = 24,
) -> int:
    """The main job on the embedded miniature: a table, and a sheet to look at."""
    from factory.verbs.demo import demonstrate

    check_machine(load_config("miniature").compute)
    return demonstrate(out, limit, _runner)


@app.command()
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
    check_machine(loaded.compute)
    from factory.engine.engine import Engine

    engine = Engine.for_compute(loaded.recipe, loaded.compute)
    found = measure(engine, engine.recipe, count)
    write_calibration(out, found)
    facts = found["thresholds"] | found["report"]
    (print_json if as_json else print_facts)(found if as_json else facts)
    if found["reached"]:
        return 0
    say(f"no gates reach the goal of {GOAL:.0%} true; these come nearest")
    return NotCalibrated.exit_code


if __name__ == "__main__":
    app()
