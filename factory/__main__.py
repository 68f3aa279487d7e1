"""The factory's commands."""

from factory.signals import answer_signals

if __name__ == "__main__":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.config import load_config
from factory.config_app import config_app
from factory.console import (
    command,
    print_facts,
    print_findings,
    print_json,
    print_result,
    say,
)
from factory.doctor.finding import Device, MeasuredSource
from factory.job import prepare, run_job
from factory.options import (
    AsJson,
    ConfigFile,
    Gpus,
    MaxBad,
    Preset,
    Price,
    RowsPerS,
    Settings,
    SomeOut,
    SomeTriplets,
    Triplets,
)
from factory.places import check_file
from factory.reports import Runner
from factory.run_app import run_app
from factory.triplets import TripletList, read_triplets
from schemas.config import Compute, Config
from schemas.recipe import Recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Captions to triplets, triplets to before/after pairs, pairs to a dataset.",
)
app.add_typer(config_app, name="config")
app.add_typer(run_app)


def _read(uri: str, max_bad: int) -> TripletList:
    triplets = read_triplets(uri, max_bad)
    for line in triplets.bad:
        say(f"skipped: {line}")
    if triplets.duplicates:
        say(f"{triplets.duplicates} duplicate triplets collapsed")
    return triplets


def _load_quietly() -> None:
    # Progress of model loading would fill the log, one bar per file.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _runner(config: Config) -> Runner:
    """Here or on Ray; torch and ray are imported only now."""
    _load_quietly()
    if config.compute.where == "ray":
        from factory.on_ray.generate import run_on_ray

        return run_on_ray
    from factory.here import run_here

    return run_here(lambda run: _engine(run.recipe, config.compute))


def _engine(recipe: Recipe, compute: Compute) -> MeasuredSource:
    _load_quietly()
    from factory.engine.engine import Engine

    return Engine.for_compute(recipe, compute)


def _device(name: str) -> Device:
    from factory.engine.device import find_device

    return find_device(name)


def _check_machine(compute: Compute) -> None:
    """Refuse, before a run is begun, a GPU that is not here, and Ray where it cannot be started."""
    if compute.where == "ray":
        from factory.on_ray.own_ray import check_start

        check_start()
    # Those of a cluster are not here.
    here = compute.where == "here" or not os.environ.get("RAY_ADDRESS")
    if here and compute.device not in ("auto", "cpu"):
        from factory.engine.device import torch_device

        torch_device(compute.device)


@app.command()
@command
def plan(
    triplets: Triplets,
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    max_bad: MaxBad = 0,
    rows_per_s: RowsPerS = None,
    as_json: AsJson = False,
) -> int:
    """Dry run: triplets, units, rows, GPU-hours, storage. Starts nothing, writes nothing."""
    from factory.estimate import estimate

    estimated = estimate(
        load_config(preset, config, settings or []), _read(triplets, max_bad), rows_per_s
    ).as_json()
    (print_json if as_json else print_facts)(estimated)
    return 0


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

    order = Order(
        load_config(preset, config, settings or []),
        triplets,
        max_bad,
        out,
        gpus,
        price_per_gpu_hour,
    )
    return print_findings(examine(order, _device, _engine, say), as_json)


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
    limit: Annotated[Optional[int], typer.Option(min=1, help="Make this many triplets.")] = None,
    target_pairs: Annotated[Optional[int], typer.Option(min=1, help="Stop at this many.")] = None,
    max_gpu_hours: Annotated[Optional[float], typer.Option(help="Stop after these.")] = None,
    deadline: Annotated[Optional[str], typer.Option(help="Stop at this ISO time.")] = None,
    as_json: AsJson = False,
) -> int:
    """The main job: make pairs, keep those that pass. Run it again to resume."""
    budget = {
        "limit": limit,
        "target_pairs": target_pairs,
        "max_gpu_hours": max_gpu_hours,
        "deadline": deadline,
    }
    options = [f"budget.{name}={value}" for name, value in budget.items() if value is not None]
    loaded = load_config(preset, config, [*(settings or []), *options])
    wanted = _read(triplets, max_bad)
    _check_machine(loaded.compute)
    run, planned = prepare(loaded, wanted, out, extend=extend, retry_failed=retry_failed)
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
    from factory.demo import demonstrate

    _check_machine(load_config("miniature").compute)
    return demonstrate(out, limit, _runner)


@app.command()
@command
def calibrate(
    out: Annotated[Path, typer.Option(help="Where to write the table.")] = Path("calibration.json"),
    count: Annotated[
        int, typer.Option(min=5, help="Triplets to choose on, and to report on.")
    ] = 100,
    preset: Preset = "miniature",
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Choose the gates of the miniature by its oracle, and report them on other triplets."""
    from factory.calibrate import GOAL, write_calibration
    from factory.calibrate import calibrate as measure
    from factory.calibration import NotCalibrated

    loaded = load_config(None if config else preset, config, settings or [])
    check_file("--out", out)
    _load_quietly()
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
