"""The command `report`: a run of pairs on one page that works offline."""

from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.console.command import command
from factory.console.options import AsJson, Price, RunUri, Settings
from factory.console.progress import Progress
from factory.console.say import print_facts, print_json, say
from factory.errors import ConfigError
from factory.pairs.source import PairSource
from factory.storage.places import check_folder
from factory.verbs import machine
from factory.verbs.runs.opened import open_planned

report_app = typer.Typer(no_args_is_help=True)
NAME = "report.html"


@report_app.command()
@command
def report(
    run: RunUri,
    out: Annotated[Path, typer.Option(help="Folder for the page, report.html.")],
    pairs: Annotated[
        int, typer.Option(min=0, max=2000, help="Pairs of which pictures are shown.")
    ] = 96,
    with_rejected: Annotated[
        int,
        typer.Option(
            min=0, max=2000, help="Rejected candidates to make again and show, of each reason some."
        ),
    ] = 0,
    candidate: Annotated[
        Optional[list[str]],
        typer.Option(
            help="A candidate to show, as TRIPLET-NUMBER; made again if need be; repeatable."
        ),
    ] = None,
    price_per_gpu_hour: Price = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """One page about a sealed run: funnel, scores, what other gates would keep, every candidate's reason.

    It is a file that opens offline, in any browser.
    """
    from factory.pairs.scores import sealed_manifest
    from factory.report import report as pages
    from factory.verbs.runs.remaking import config_of, environment_of

    check_folder("--out", out)
    opened, plan = open_planned(run, "report")
    manifest = sealed_manifest(opened)
    config = config_of(opened, environment_of(opened, plan, manifest), settings or [])
    wish = pages.ReportWish(run, pairs, with_rejected, tuple(candidate or ()), price_per_gpu_hour)
    if with_rejected or candidate:
        machine.check_machine(config.compute)
    reading = pages.read(opened, plan)

    @cache
    def source() -> PairSource:
        say("candidates are made again; the models are loaded first")
        return machine.engine(config.recipe, config.compute)

    remade = with_rejected + len(candidate or ())
    with Progress("candidates", remade) if remade else nullcontext() as progress:
        page = pages.write(reading, wish, source, progress.advance if progress else lambda: None)
    path = out / NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(page)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from None
    figures = reading.figures.as_json()
    if as_json:
        cost = pages.cost(reading, price_per_gpu_hour).as_json()
        print_json({"page": str(path), "bytes": path.stat().st_size, **figures, "cost": cost})
    else:
        print_facts({name: figures["left"][name] for name in ("triplets", "candidates", "kept")})
        print(path)
    return 0
