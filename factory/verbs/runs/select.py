"""The command `select`: other gates over the candidates of a run, without making them again."""

from dataclasses import asdict, replace
from typing import Annotated, Any, Optional

import typer

from factory.console.command import resumable
from factory.console.options import AsJson, RunUri, Settings
from factory.console.say import print_facts, print_json, print_table, say
from factory.errors import ConfigError, InputError
from factory.ledger.run import Run, must_be_of_this_release
from factory.ledger.status import status as read_status
from factory.pairs.generate import generate_stage
from factory.pairs.recount import Recount, recounted
from factory.pairs.reselection import Candidates, place_of, write_selected
from factory.pairs.scores import sealed_manifest
from factory.storage.key_rules import PART
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.verbs import machine
from factory.verbs.results import print_result
from factory.verbs.runs.opened import open_planned
from factory.verbs.runs.remaking import config_of, environment_of
from factory.work.job import begin, run_job
from schemas.ledger.layout import GENERATE
from schemas.recipe import Recipe

select_app = typer.Typer(no_args_is_help=True)
CHOSEN = ("thresholds", "keep")
"""What of a recipe may differ from that of the run whose candidates are chosen among."""


@select_app.command()
@resumable
def select(
    run: RunUri,
    settings: Settings = None,
    name: Annotated[
        Optional[str],
        typer.Option(help="The selection becomes a run of its own, RUN/selections/NAME."),
    ] = None,
    out: Annotated[
        Optional[str], typer.Option(help="Or it lies there: a folder or s3://bucket/prefix.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count exactly what it would hold, and end.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Choose anew among a sealed run's candidates, by other `recipe.thresholds` or `recipe.keep.most`.

    Pairs that were kept before are taken as they are, those newly kept are made again from their seeds.
    Run it again to resume. RUN itself stays as it is.
    """
    opened, plan = open_planned(run, "select")
    manifest = sealed_manifest(opened)
    environment = environment_of(opened, plan, manifest)
    config = config_of(opened, environment, settings or [], CHOSEN)
    if config.recipe.recipe_hash == opened.recipe_hash:
        raise ConfigError(
            "--set: must change recipe.thresholds or recipe.keep, got what the run was made with"
        )
    store = None if dry_run else place(opened, name, out)
    must_be_of_this_release(opened)
    counted = recounted(opened, plan, manifest, config.recipe)
    if store is None:
        tell(opened, config.recipe, counted, as_json)
        return 0
    say(
        f"{counted.pairs} pairs of {counted.candidates} candidates: {counted.reused} as they are, "
        f"{counted.remade} made again from their seeds; {counted.dropped} of RUN are dropped"
    )
    if counted.remade:
        machine.check_machine(config.compute)
    items = Candidates(opened).items()
    ours, planned = begin(
        GENERATE, store, lambda: config.recipe, items, config.recipe.unit_triplets, extend=True
    )
    write_selected(ours, opened)
    stage = replace(
        generate_stage(machine.load_reselector),
        loading="a model is loaded where a pair must be made again" if counted.remade else "",
        advice="`select --dry-run` counts by other gates",
    )
    result = run_job(stage, ours, planned, config, machine.runner(stage, config.compute))
    print_result(read_status(ours, planned, result.book), result, as_json)
    return result.exit_code


def place(run: Run, name: str | None, out: str | None) -> ObjectStore:
    """Where the selection will lie. Raises `ConfigError`."""
    if (name is None) == (out is None):
        got = "neither" if name is None else "both"
        raise ConfigError(f"--name or --out: one must be given, got {got}; --dry-run needs none")
    if name is not None:
        if not PART.fullmatch(name) or len(name) > 100:
            raise ConfigError(
                f"--name: must be at most 100 letters, digits and ._-, got {name[:120]!r}"
            )
        return place_of(run, name)
    store = open_store(str(out))
    if store.uri == run.uri:
        raise InputError(f"--out {out}: must be another place than the run itself")
    return store


def tell(run: Run, recipe: Recipe, counted: Recount, as_json: bool) -> None:
    """The counts, on stdout."""
    rows = 4 * recipe.steps * counted.remade
    facts: dict[str, Any] = asdict(counted)
    if as_json:
        print_json({"uri": run.uri, **facts, "rows": rows})
        return
    by_kind = facts.pop("by_kind")
    print_facts({**{words.replace("_", " "): n for words, n in facts.items()}, "UNet rows": rows})
    print_table(
        ("edit kind", "candidates", "pairs", "kept"),
        [
            (kind, of["candidates"], of["pairs"], f"{of['pairs'] / (of['candidates'] or 1):.1%}")
            for kind, of in sorted(by_kind.items())
        ],
    )
