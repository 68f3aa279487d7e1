"""The command `evaluate`: one editor judged by the oracle, or several along a curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from factory.console.amounts import counted
from factory.console.check import CheckOnly
from factory.console.command import resumable
from factory.console.config import (
    FIT_PRESETS,
    MINIATURE,
    Choice,
    choose_config,
)
from factory.console.options import EDITS, FITS, AsJson, ConfigFile, preset_option
from factory.console.say import Opening, print_facts, print_json, print_table, say
from factory.errors import ConfigError, ModelError
from factory.models.find import Role, still_to_fetch
from factory.storage.places import check_folder
from factory.verbs.machine import check_machine, runner
from factory.verbs.runs.sealings import SEALINGS
from factory.work.job import JobResult, run_job
from factory.work.stage import Sealing
from schemas.edits import EditCompute
from schemas.evaluation import EVALUATE, Evaluation, EvaluationItem, EvaluationRecipe
from schemas.recipe import ModelSource
from schemas.training.fit import Fit
from trainer.evaluation.entrants import chosen_sweep, differing_sizes, of_one
from trainer.headline import evaluate_headline

if TYPE_CHECKING:
    from trainer.evaluation.held_out import Tasks

evaluate_app = typer.Typer(no_args_is_help=True)


def _finish(run: Any, commits: Any) -> Any:
    """For `seal`; what draws is imported only then."""
    from trainer.evaluation.report import finish

    return finish(run, commits)


SEALINGS[EVALUATE.stage] = Sealing(finish=_finish)


@evaluate_app.command()
@resumable
def evaluate(
    out: Annotated[
        str,
        typer.Option(
            help="Folder or s3:// prefix for evaluation.json, edits.jsonl, sheet.png, table.csv, "
            "report.json and the curve."
        ),
    ],
    editor: Annotated[
        Optional[str],
        typer.Option(
            help="What `fit` wrote: a folder, s3://bucket/prefix, or `miniature/editor`; with --sweep "
            "in place of the first entrant's that takes pictures."
        ),
    ] = None,
    edits: Annotated[
        Optional[int],
        typer.Option(min=1, help="Held-out pictures; of the miniature 300 unasked, 1,000 at most."),
    ] = None,
    sweep: Annotated[
        Optional[str],
        typer.Option(
            help=f"Editors along a curve of settings: {EDITS}, or a YAML file (`config show --of "
            "evaluate`); --set then means its keys."
        ),
    ] = None,
    editors: Annotated[
        Optional[str], typer.Option(help="With --sweep: of its entrants these, as a,b.")
    ] = None,
    dataset: Annotated[
        Optional[str],
        typer.Option(help="With --sweep: judge on a dataset's pictures, as `fit` reads it."),
    ] = None,
    requests: Annotated[
        Optional[str],
        typer.Option(help="With --sweep: judge on a list of requests, as `edit` reads it."),
    ] = None,
    images: Annotated[
        Optional[str], typer.Option(help="Of --requests, what keys lie below.")
    ] = None,
    attempts: Annotated[
        Optional[int], typer.Option(min=1, help="With --sweep: edits of each picture.")
    ] = None,
    preset: Annotated[
        Optional[str], preset_option(f"{FITS}; miniature is the default.", FIT_PRESETS)
    ] = None,
    config: ConfigFile = None,
    settings: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="key=value, e.g. watching.sampler.steps=50; repeatable."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Make again what failed, and nothing else.")
    ] = False,
    sheet: Annotated[
        Optional[bool],
        typer.Option(
            help="Edit the first 24 pictures once more, on this machine, for sheet.png; unasked where it "
            "has a GPU or the workers have none."
        ),
    ] = None,
    as_json: AsJson = False,
    check: CheckOnly = False,
) -> int:
    """Judge editors on pictures no model has seen. Run it again to resume.

    With --editor the oracle judges one in the miniature's world: of the configuration `watching.sampler`,
    `compute.device` and `compute.threads` count; without one they are those of `--preset miniature`. With
    --sweep each of several editors is measured at each of several settings (docs/evaluation.md).
    """
    if "://" not in out and not check:
        check_folder("--out", Path(out))
    asked = {
        "--editors": editors,
        "--dataset": dataset,
        "--requests": requests,
        "--images": images,
        "--attempts": attempts,
    }
    if sweep is None:
        for name, value in asked.items():
            if value is not None:
                raise ConfigError(f"{name}: needs --sweep, got none")
        if editor is None:
            raise ConfigError("--editor or --sweep: must be given, got neither")
        choice = choose_config(
            Fit, FIT_PRESETS, preset, config, settings or [], unasked=lambda: (MINIATURE, "")
        )
        given = of_one(choice.config, editor, edits or 300)
        opening = Opening(evaluate_headline(choice, editor))
    else:
        if preset is not None or config is not None:
            raise ConfigError(
                "--preset and --config: must be left out with --sweep, which names both"
            )
        chosen = chosen_sweep(sweep, settings or [], editor, edits, asked)
        given, opening = chosen.config, Opening(_headline(chosen))
    if check:
        from trainer.checks import check_evaluate

        return check_evaluate(given, _models(given.recipe), dataset, out)
    check_machine(given.compute)
    one = choice if sweep is None else None
    return _run(given, out, opening, one, retry_failed, sheet, as_json)


def _run(
    given: Evaluation,
    out: str,
    opening: Opening,
    one: Choice[Fit] | None,
    retry_failed: bool,
    sheet: bool | None,
    as_json: bool,
) -> int:
    """Make what is open and seal; `one` is the configuration of a single editor."""
    from trainer.evaluation.prepare import prepare
    from trainer.evaluation.results import write_judged, write_results
    from trainer.evaluation.stage import evaluate_stage, loaded

    for line in still_to_fetch(_models(given.recipe)):
        opening(line)
    run, plan, tasks = prepare(given, out, retry_failed=retry_failed)
    opening.begin()
    say(_amount(given, tasks))
    for line in differing_sizes(given.recipe):
        say(line)
    stage = evaluate_stage(loaded(tasks.place))
    result = run_job(stage, run, plan, given, runner(stage, given.compute))
    if result.exit_code or result.sealed is None or result.sealed.partial:
        say(result.message)
        for problem in result.problems:
            say(f"unit {problem.unit}: {problem.message}")
        if result.sealed is not None:
            write_results(result)
        if as_json:
            print_json({"exit_code": result.exit_code, "message": result.message})
        return result.exit_code
    report = write_results(result)
    if _draws(sheet, result, given.compute):
        _write_sheet(result, tasks, given.compute)
    if one is not None:
        report = write_judged(result, one.config.watching.sampler.model_dump())
    if as_json:
        print_json(report)
    elif one is not None:
        shown = {k: v for k, v in report.items() if isinstance(v, float)}
        print_facts(shown | {"edits": report["edits"], "sheet": f"{out.rstrip('/')}/sheet.png"})
    else:
        _print_report(report, out)
    return 0


def _models(recipe: EvaluationRecipe) -> list[tuple[str, ModelSource, Role]]:
    models: list[tuple[str, ModelSource, Role]] = [("clip", recipe.clip, "clip")]
    for entrant in recipe.entrants:
        models.append((entrant.name, entrant.settings.model, "text_to_image"))
    return models


def _headline(choice: Choice[Evaluation]) -> str:
    recipe = choice.config.recipe
    names = ", ".join(f"{e.name} at {counted(len(e.points), 'setting')}" for e in recipe.entrants)
    return choice.line(f"{names}; {recipe.held_out.source or recipe.held_out.kind}")


def _amount(given: Evaluation, tasks: "Tasks") -> str:
    recipe, count = given.recipe, len(tasks.tasks)
    points = sum(len(entrant.points) for entrant in recipe.entrants)
    what = "held-out scene" if recipe.held_out.kind == MINIATURE else "held-out picture"
    times = points * recipe.attempts
    each = f", {times} times each" if times > 1 else ""
    return f"edits {counted(count, what)}{each}, {given.compute.batch_images} at once"


def _draws(asked: bool | None, result: JobResult, compute: EditCompute) -> bool:
    """Whether the sheet is drawn: once, and where that takes no days."""
    from factory.engine.device import torch_device
    from trainer.evaluation.results import SHEET

    if asked is not None:
        return asked
    if result.units_made == 0 and result.book.run.place.find(SHEET):
        return False
    if not compute.gpus_per_worker or compute.device == "cpu":
        return True
    try:
        has_gpu = torch_device(compute.device).type != "cpu"
    except ModelError:
        has_gpu = False
    if not has_gpu:
        say(f"{SHEET}: not drawn: the workers had GPUs, this machine has none; --sheet draws it")
    return has_gpu


def _write_sheet(result: JobResult, tasks: "Tasks", compute: EditCompute) -> None:
    """Edit the first pictures again, here: an evaluation keeps no edits."""
    from trainer.evaluation.held_out import open_pictures
    from trainer.evaluation.results import (
        ON_SHEET,
        SHEET,
        commits_of,
        judged_of,
        middle,
        put,
        sheet,
        verdict,
    )
    from trainer.evaluation.stage import items_of
    from trainer.evaluation.studios import studios_here

    run = result.book.run
    recipe: EvaluationRecipe = run.recipe
    first = tasks.tasks[:ON_SHEET]
    shown = {entrant.name: middle(entrant) for entrant in recipe.entrants}
    items = [
        item
        for item in items_of(recipe, first)
        if item.attempt == 0
        and all(getattr(item, name) == v for name, v in shown[item.entrant].items())
    ]
    words: dict[int, str] = {}
    if recipe.held_out.kind == MINIATURE and len(recipe.entrants) == 1:
        rows = (row for commit in commits_of(result.book) for row in commit.rows)
        wanted = {item.item_id for item in items}
        # As the run planned them, whatever a release lists first.
        planned = map(EvaluationItem.model_validate, result.book.plan.all_items())
        for item, row in zip(planned, rows, strict=True):
            if item.item_id in wanted:
                words[item.number] = verdict(judged_of(row))
    pictures = open_pictures(run, tasks.place, compute.most_pixels)
    studios = studios_here(compute)
    try:
        drawn = sheet(recipe, first, items, pictures, studios, words)
    finally:
        pictures.close()
        studios.close()
    put(run, SHEET, drawn)


_SHORT = {"image_guidance": "image", "text_guidance": "text", "strength": "strength"}
"""So that a row has room on a terminal."""


def _print_report(report: Mapping[str, Any], out: str) -> None:
    """The curve as a table, and which lies above which."""
    rows = [
        (
            point["entrant"],
            " ".join(f"{_SHORT[n]} {v:g}" for n, v in point["setting"].items() if v is not None),
            *(_estimate_text(point[name]) for name in ("clip_sim_dir", "clip_sim_image", "true")),
            point["failed"],
        )
        for point in report["points"]
    ]
    print_table(("editor", "setting", "direction", "image", "edit accuracy", "failed"), rows)
    for name, figure in report["figures"].items():
        print_facts({name: figure})
    print_facts({"results": f"{out.rstrip('/')}/ report.json, table.csv, curve.svg, curve.png"})


def _estimate_text(estimate: Mapping[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "-"
    if estimate["low"] is None or estimate["high"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
