"""The command `status`: how far a run is."""

from typing import Annotated

import typer

from factory.console.command import command
from factory.console.options import AsJson, RunUri
from factory.console.say import print_json
from factory.verbs.results import print_status, status_json
from factory.verbs.runs.opened import open_planned

status_app = typer.Typer(no_args_is_help=True)


@status_app.command()
@command
def status(
    run: RunUri,
    live: Annotated[
        bool,
        typer.Option(
            "--watch", help="Go on until it is sealed; with --json an object a line and look."
        ),
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds from one look of --watch to the next.")
    ] = 5.0,
    as_json: AsJson = False,
) -> int:
    """How far a run is: counts, acceptance by edit kind, reasons."""
    opened = open_planned(run, "status")
    if live:
        from factory.verbs.runs.live_status import watch

        return watch(*opened, every, as_json)
    from factory.ledger.status import status as read_status

    state = read_status(*opened)
    if as_json:
        print_json(status_json(state))
    else:
        print_status(state)
    return 0
