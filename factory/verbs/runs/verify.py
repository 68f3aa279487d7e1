"""The command `verify`: whether a run is as it was made."""

from typing import Annotated

import typer

from factory.console.amounts import counted
from factory.console.command import command
from factory.console.options import AsJson, RunUri
from factory.console.say import print_facts, print_json, say
from factory.errors import EditmillError, NeedsRepair
from factory.verbs.runs.opened import open_named
from factory.verbs.runs.sealings import sealing_of
from schemas.ledger.layout import GENERATE

verify_app = typer.Typer(no_args_is_help=True)


@verify_app.command()
@command
def verify(
    run: RunUri,
    repair: Annotated[
        bool, typer.Option("--repair", help="Open damaged units again, so that a rerun makes them.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Read everything back and check every hash and count; lists what is damaged.

    Exit codes: 0 whole, 3 opened again (run its command), 5 damaged.
    """
    from factory.ledger.units.reopen import repair as open_damaged
    from factory.ledger.verify.run import verify as check

    opened = open_named(run, "verify")
    known = sealing_of(opened)
    found = check(opened, known.check, known.lay_out, known.check_derived)
    again = open_damaged(opened, found) if repair else ()
    facts = {
        "units": found.units,
        "open_units": found.open_units,
        "pairs" if opened.layout == GENERATE else "rows": found.rows,
        "sealed": found.sealed,
        "damages": len(found.damages),
    }
    if repair:
        facts["opened_again"] = len(again)
    if as_json:
        print_json(facts | {"partial": found.partial, "damages": found.damages})
    else:
        print_facts(
            facts | {"sealed": {True: "partial", False: "whole", None: "no"}[found.partial]}
        )
    for damage in found.damages:
        say(damage)
    if again:
        say(
            f"opened again: {counted(len(again), 'unit')}, what was damaged is kept; run "
            f"`editmill {opened.layout.stage}` as before, then verify"
        )
        return EditmillError.exit_code
    if found.broken:
        say(f"`editmill verify --repair` opens {counted(len(found.broken), 'unit')} again")
    return NeedsRepair.exit_code if found.damages else 0
