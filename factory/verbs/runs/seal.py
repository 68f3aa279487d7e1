"""The command `seal`: the manifest that readers use."""

from typing import Annotated, Any

import typer

from factory.console.command import command
from factory.console.options import AsJson, RunUri
from factory.console.say import print_facts, print_json, say
from factory.verbs.runs.opened import open_planned
from factory.verbs.runs.sealings import sealing_of
from factory.work.job import publish
from schemas.ledger.layout import GENERATE

seal_app = typer.Typer(no_args_is_help=True)


@seal_app.command()
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
