"""The commands on a run that is there: status, verify, seal, gc, sheet."""

from pathlib import Path
from typing import Annotated, Any

import typer

from factory.captions import captions
from factory.console.amounts import counted
from factory.console.command import command
from factory.console.options import AsJson, RunUri
from factory.console.say import print_facts, print_json, say
from factory.edits import edit
from factory.errors import ConfigError, EditmillError, NeedsRepair
from factory.export import export
from factory.ledger.plan import read_plan
from factory.ledger.run import Run
from factory.pairs import verify as pairs
from factory.storage.places import check_file
from factory.verbs.opened import open_named, open_planned
from factory.verbs.results import print_status, status_json
from factory.work.job import publish
from factory.work.stage import Sealing
from schemas.captions import CAPTIONS
from schemas.edits import EDIT
from schemas.export import EXPORT
from schemas.ledger.layout import GENERATE

run_app = typer.Typer(no_args_is_help=True)

SEALINGS: dict[str, Sealing] = {
    GENERATE.stage: pairs.SEALING,
    CAPTIONS.stage: captions.SEALING,
    EDIT.stage: edit.SEALING,
    EXPORT.stage: export.SEALING,
}
"""What is a stage's own when its runs are sealed and verified; other programs add theirs."""


def sealing_of(run: Run) -> Sealing:
    """By the run's stage; of one that is not known here, what holds for any."""
    return SEALINGS.get(run.layout.stage, Sealing())


@run_app.command()
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
        from factory.verbs.live_status import watch

        return watch(*opened, every, as_json)
    from factory.ledger.status import status as read_status

    state = read_status(*opened)
    if as_json:
        print_json(status_json(state))
    else:
        print_status(state)
    return 0


@run_app.command()
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
    from factory.ledger.reopen import repair as open_damaged
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


@run_app.command()
@command
def seal(
    run: RunUri,
    partial: Annotated[bool, typer.Option(help="Seal what is there, marked partial.")] = False,
    as_json: AsJson = False,
) -> int:
    """Write the manifest of a run, which readers use and nothing else."""
    from factory.ledger.manifest import manifest_hash
    from factory.ledger.seal import seal as write_manifest

    opened, plan = open_planned(run, "seal")
    left_out: dict[int, str] = {}
    known = sealing_of(opened)
    sequence, manifest = write_manifest(
        opened, plan, partial=partial, finish=known.finish, left_out=left_out
    )
    publish(opened, manifest, known)
    kept = {"pairs": manifest.counts["accepted"]} if opened.layout == GENERATE else manifest.counts
    facts: dict[str, Any] = {
        "sequence": sequence,
        "manifest_hash": manifest_hash(opened, manifest),
        "partial": manifest.partial,
        "units": manifest.units,
        **kept,
    }
    if left_out:
        facts["left_out"] = len(left_out)
    (print_json if as_json else print_facts)(facts)
    for unit, why in sorted(left_out.items()):
        say(f"left out: unit {unit}: {why}")
    return 0


@run_app.command()
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
    lines += [f"{one.key}  an upload that was not finished" for one in found.uploads]
    if as_json:
        print_json(facts | {"garbage": lines})
    else:
        print_facts(facts)
        for line in lines:
            say(line)
        if lines and not delete:
            say("nothing was removed; --delete removes these")
    return 0


@run_app.command()
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
