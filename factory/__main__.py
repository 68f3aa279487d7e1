"""The factory's commands."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from factory.config import load_config
from factory.console import command, print_facts, print_json, print_status, say
from factory.errors import ConfigError, Damaged, RunMismatch
from factory.job import JobResult, prepare, run_job
from factory.options import AsJson, ConfigFile, MaxBad, Preset, RunUri, Settings, Triplets
from factory.plan import Plan, find_plan
from factory.reports import Runner
from factory.run import Run, open_run
from factory.triplets import TripletList, read_triplets
from schemas.config import Config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Captions to triplets, triplets to before/after pairs, pairs to a dataset.",
)
config_app = typer.Typer(no_args_is_help=True, help="Show configurations.")
app.add_typer(config_app, name="config")


def _read(uri: str, max_bad: int) -> TripletList:
    triplets = read_triplets(uri, max_bad)
    for line in triplets.bad:
        say(f"skipped: {line}")
    if triplets.duplicates:
        say(f"{triplets.duplicates} duplicate triplets collapsed")
    return triplets


def _open(uri: str) -> tuple[Run, Plan]:
    run = open_run(uri)
    plan = find_plan(run.store)
    if plan is None:
        raise RunMismatch(f"{uri}: no plan here; was `generate` started?")
    return run, plan


def _runner(config: Config) -> Runner:
    """Here or on Ray; torch and ray are imported only now."""
    # Progress of model loading would fill the log, one bar per file.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if config.compute.where == "ray":
        from factory.on_ray.generate import run_on_ray

        return run_on_ray
    from factory.engine.engine import Engine
    from factory.here import run_here

    return run_here(lambda run: Engine.for_compute(run.recipe, config.compute))


@app.command()
@command
def plan(
    triplets: Triplets,
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    max_bad: MaxBad = 0,
    rows_per_s: Annotated[
        Optional[float],
        typer.Option(min=0.001, help="UNet rows per second and GPU, for the hours."),
    ] = None,
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
def generate(
    triplets: Triplets,
    out: Annotated[str, typer.Option(help="The run: a folder or s3://bucket/prefix.")],
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    max_bad: MaxBad = 0,
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
    run, planned = prepare(loaded, _read(triplets, max_bad), out)
    result = run_job(run, planned, loaded, _runner(loaded))
    _print_result(run, planned, result, as_json)
    return result.exit_code


def _print_result(run: Run, planned: Plan, result: JobResult, as_json: bool) -> None:
    from factory.status import status as read_status

    state = read_status(run, planned)
    if as_json:
        ended = {"exit_code": result.exit_code, "message": result.message}
        problems = [f"unit {p.unit}: {p.message}" for p in result.problems]
        print_json(state.as_json() | ended | {"problems": problems})
    else:
        print_status(state)
        say(result.message)


@app.command()
@command
def status(run: RunUri, as_json: AsJson = False) -> int:
    """How far a run is: counts, acceptance by edit kind, reasons."""
    from factory.status import status as read_status

    state = read_status(*_open(run))
    if as_json:
        print_json(state.as_json())
    else:
        print_status(state)
    return 0


@app.command()
@command
def verify(run: RunUri, as_json: AsJson = False) -> int:
    """Read everything back and check every hash and count; lists what is damaged."""
    from factory.verify import verify as check

    found = check(open_run(run))
    facts = {
        "units": found.units,
        "open_units": found.open_units,
        "pairs": found.pairs,
        "sealed": found.sealed,
        "damages": len(found.damages),
    }
    if as_json:
        print_json(facts | {"damages": found.damages})
    else:
        print_facts(facts)
    for damage in found.damages:
        say(damage)
    return Damaged.exit_code if found.damages else 0


@app.command()
@command
def seal(
    run: RunUri,
    partial: Annotated[bool, typer.Option(help="Seal what is there, marked partial.")] = False,
    as_json: AsJson = False,
) -> int:
    """Write the manifest of a run, which readers use and nothing else."""
    from factory.manifest import manifest_hash
    from factory.manifest import seal as write_manifest

    sequence, manifest = write_manifest(*_open(run), partial=partial)
    facts: dict[str, Any] = {
        "sequence": sequence,
        "manifest_hash": manifest_hash(manifest),
        "partial": manifest.partial,
        "units": manifest.units,
        "pairs": manifest.accepted,
    }
    (print_json if as_json else print_facts)(facts)
    return 0


@app.command()
@command
def sheet(
    run: RunUri,
    out: Annotated[Path, typer.Option(help="Where to write the PNG.")],
    count: Annotated[int, typer.Option(min=1, max=400, help="Pairs, one per triplet.")] = 24,
) -> int:
    """A contact sheet of a sealed run: original and edited, prompts and scores."""
    from factory.manifest import newest_manifest
    from factory.sheet import contact_sheet, sealed_pairs

    opened = open_run(run)
    newest = newest_manifest(opened)
    if newest is None:
        raise RunMismatch(f"{run}: not sealed yet; `editmill seal --partial` makes a snapshot")
    try:
        out.write_bytes(contact_sheet(sealed_pairs(opened, newest[1]), count))
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from None
    print(out)
    return 0


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and the sheet.")] = Path("demo"),
    limit: Annotated[int, typer.Option(min=1, help="Bundled triplets to make.")] = 24,
) -> int:
    """The main job on the embedded miniature: a table, and a sheet to look at."""
    from factory.demo import demonstrate

    return demonstrate(out, limit, _runner)


@config_app.command("show")
@command
def config_show(preset: Preset = None, config: ConfigFile = None, settings: Settings = None) -> int:
    """The configuration after preset, file and settings, as JSON."""
    loaded = load_config(preset, config, settings or [])
    print(json.dumps(loaded.model_dump(mode="json"), indent=2))
    return 0


@config_app.command("schema")
@command
def config_schema() -> int:
    """The JSON schema of a configuration: every key with its meaning and range."""
    print(json.dumps(Config.model_json_schema(), indent=2))
    return 0


if __name__ == "__main__":
    app()
