"""The command `sheet`: a contact sheet of a sealed run."""

from pathlib import Path
from typing import Annotated

import typer

from factory.console.command import command
from factory.console.options import RunUri
from factory.errors import ConfigError
from factory.ledger.plan import read_plan
from factory.storage.places import check_file
from factory.verbs.runs.opened import open_named
from schemas.edits import EDIT

sheet_app = typer.Typer(no_args_is_help=True)


@sheet_app.command()
@command
def sheet(
    run: RunUri,
    out: Annotated[Path, typer.Option(help="Where to write the PNG.")],
    count: Annotated[
        int, typer.Option(min=1, max=400, help="Pairs, one per triplet; or edits.")
    ] = 24,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="Of edits by pnp: what the picture lends, its features and attention.",
        ),
    ] = False,
) -> int:
    """A contact sheet of a sealed run: original and edited, what was asked for, and scores."""
    from factory.edits.features import features_of
    from factory.edits.sheet import edit_sheet
    from factory.ledger.manifest import newest_manifest
    from factory.ledger.seal import Incomplete
    from factory.pairs.sheet import contact_sheet, sealed_pairs

    check_file("--out", out)
    opened = open_named(run, "sheet")
    newest = newest_manifest(opened)
    if newest is None:
        raise Incomplete(f"{run}: not sealed yet; `editmill seal --partial` makes a snapshot")
    try:
        if features:
            drawn = features_of(opened, count)
        elif opened.layout.stage == EDIT.stage:
            drawn = edit_sheet(opened, read_plan(opened), count)
        else:
            drawn = contact_sheet(sealed_pairs(opened, newest[1]), count)
        out.write_bytes(drawn)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from None
    print(out)
    return 0
