"""The command `compare`: a page on which people choose between edits, and what they chose."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer
from pydantic import ValidationError

from factory.console.amounts import counted
from factory.console.command import command
from factory.console.options import AsJson
from factory.console.progress import Progress
from factory.console.say import print_facts, print_json, print_table, say
from factory.edits.prepare import run_uri
from factory.errors import ConfigError, InputError, ObjectMissing, RunMismatch
from factory.ledger.run import Run, open_run
from factory.storage.open import open_store
from factory.verbs.machine import check_machine
from schemas.edits import EditCompute
from schemas.evaluation import EVALUATE, EvaluationRecipe, Key

PAGE, KEY = "compare.html", "compare-key.json"

compare_app = typer.Typer(no_args_is_help=True)


@compare_app.command()
@command
def compare(
    evaluation: Annotated[
        str, typer.Argument(metavar="OUT", help="What `evaluate --sweep` wrote: folder or s3://.")
    ],
    answers: Annotated[
        Optional[list[Path]],
        typer.Option(help="A file that was saved from the page; repeatable. Reads them back."),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Of the held-out ones, the first.")] = 20,
    editors: Annotated[
        Optional[str], typer.Option(help="Of the evaluation's these, as a,b; all unasked.")
    ] = None,
    at: Annotated[
        Optional[list[str]],
        typer.Option(help="EDITOR=VALUE of its curve, repeatable; unasked the middle one."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the edits are made again.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    as_json: AsJson = False,
) -> int:
    """Write OUT/compare.html, a page of edits side by side without their editors' names, or read it back.

    Edits are made again from their seeds. Who is on which side stands in OUT/compare-key.json, which
    whoever answers must not see; `--answers` needs it.
    """
    try:
        run = open_run(open_store(run_uri(evaluation)))
    except RunMismatch:
        raise InputError(f"{evaluation}: must be what `evaluate` wrote, got no run in it") from None
    if run.layout.stage != EVALUATE.stage:
        raise RunMismatch(
            f"{evaluation}: must be a run of `evaluate`, got one of `{run.layout.stage}`"
        )
    if answers:
        return _read(run, answers, as_json)
    recipe = EvaluationRecipe.known(run.recipe)
    compute = EditCompute(where="here", device=device, gpus_per_worker=0, threads=threads)
    check_machine(compute)
    asked = _write(run, recipe, compute, pictures, editors, _values(at or []))
    place = evaluation.rstrip("/")
    facts = {"page": f"{place}/{PAGE}", "key": f"{place}/{KEY}", "questions": asked}
    (print_json if as_json else print_facts)(facts)
    return 0


def _values(texts: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise ConfigError(f"--at: must be EDITOR=VALUE, got {text!r}") from None
    return found


def _write(
    run: Run,
    recipe: EvaluationRecipe,
    compute: EditCompute,
    count: int,
    editors: str | None,
    chosen: dict[str, float],
) -> int:
    """Make the edits, the page and its key; returns how many questions it asks."""
    from factory.ledger.plan import read_plan
    from schemas.evaluation import EvaluationItem
    from trainer.evaluation.blind import Shown, answerable, ask, page, settings_of
    from trainer.evaluation.entrants import of_these
    from trainer.evaluation.held_out import open_pictures, place_of_run
    from trainer.evaluation.results import edited_again, middle, put
    from trainer.evaluation.studios import studios_here

    if editors is not None:
        recipe = of_these(recipe, editors)
    if len(recipe.entrants) < 2:
        raise ConfigError(
            f"--editors: must be at least two, got {recipe.entrants[0].name} alone; a page compares"
        )
    middles = {entrant.name: middle(entrant) for entrant in recipe.entrants}
    strange = next((name for name in chosen if name not in middles), None)
    if strange is not None:
        raise ConfigError(f"--at: must name one of {', '.join(middles)}, got {strange!r}")
    settings = settings_of(recipe.entrants, chosen, middles)
    items = [
        item
        for row in read_plan(run).all_items()
        for item in [EvaluationItem.model_validate(row)]
        if item.number < recipe.held_out.first + count
        and item.attempt == 0
        and item.entrant in settings
        and all(getattr(item, name) == v for name, v in settings[item.entrant].items())
    ]
    studios = studios_here(compute)
    opened = open_pictures(run, place_of_run(recipe), compute.most_pixels)
    shown: dict[int, Shown] = {}
    try:
        with Progress("edits", len(items)) as progress:
            for item, before, edit in edited_again(recipe, items, opened, studios):
                progress.advance()
                if edit is not None:
                    held = shown.setdefault(item.number, Shown(item, before, {}))
                    edits = {**held.edits, item.entrant: edit}
                    shown[item.number] = Shown(held.item, held.before, edits)
    finally:
        opened.close()
        studios.close()
    key = ask(run.recipe_hash, sorted(shown), settings)
    key = key.model_copy(update={"questions": tuple(answerable(key, shown))})
    if not key.questions:
        raise InputError(f"{run.uri}: must have two edits of a picture, got none")
    # The key first: a page without it could never be read back.
    put(run, KEY, (json.dumps(key.model_dump(mode="json"), indent=1) + "\n").encode())
    put(run, PAGE, page(key, shown).encode())
    return len(key.questions)


def _read(run: Run, files: Sequence[Path], as_json: bool) -> int:
    from trainer.evaluation.blind import preferences, read_answers

    try:
        key = Key.model_validate_json(run.place.get(KEY))
    except ObjectMissing:
        raise InputError(f"{run.uri}: must have a {KEY} beside it, got none") from None
    except ValidationError:
        raise InputError(f"{run.uri}: {KEY} beside it must be a page's key, got another") from None
    sheets = [read_answers(path, key) for path in files]
    copies = len(sheets) - len({sheet.sheet for sheet in sheets})
    if copies:
        say(f"{counted(copies, 'file')} left out: of a copy of the page that was read already")
    found = preferences(key, sheets)
    if as_json:
        print_json(
            {
                "page": key.page,
                "people": len(sheets) - copies,
                "preferences": [asdict(one) for one in found],
            }
        )
        return 0
    rows = [
        (
            one.entrant,
            one.than,
            one.preferred,
            one.against,
            one.neither,
            "-" if one.share is None else f"{one.share:.0%} ({one.low:.0%} to {one.high:.0%})",
        )
        for one in found
    ]
    print_table(("editor", "than", "preferred", "against", "neither", "share"), rows)
    return 0
