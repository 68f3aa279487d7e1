"""The command `gc`: what lost attempts left behind."""

from typing import Annotated, Any

import typer

from factory.console.command import command
from factory.console.options import AsJson, RunUri
from factory.console.say import print_facts, print_json, say
from factory.verbs.runs.opened import open_planned

gc_app = typer.Typer(no_args_is_help=True)


@gc_app.command()
@command
def gc(
    run: RunUri,
    delete: Annotated[
        bool, typer.Option(help="Remove it; without this it is only listed.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(min=0, help="Hours; never less than 24 or ten times the longest unit took."),
    ] = 24.0,
    as_json: AsJson = False,
) -> int:
    """What lost attempts left in a run that is sealed whole; lists it, removes it with --delete."""
    from factory.ledger.collect import collect

    found = collect(*open_planned(run, "gc"), delete=delete, older_than_hours=older_than)
    facts: dict[str, Any] = {
        "objects": len(found.found),
        "bytes": found.bytes,
        "unfinished_uploads": len(found.uploads),
        "too_young": found.young,
        "least_hours": round(found.least_hours, 1),
        "removed": found.removed,
    }
    lines = [f"{one.key}  {one.why}" for one in found.found]
    lines += [f"{one.key}  an upload that was not finished" for _, one in found.uploads]
    if as_json:
        print_json(facts | {"garbage": lines})
    else:
        print_facts(facts)
        for line in lines:
            say(line)
        if lines and not delete:
            say("nothing was removed; --delete removes these")
    return 0
