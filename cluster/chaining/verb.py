"""The command `chain`: several verbs in turn, here or as one job on a cluster."""

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from cluster.chaining.file import Chain, chain_of, read_chain, text_of
from cluster.chaining.record import ChainRecord
from cluster.chaining.run import is_done, run_chain
from cluster.chaining.status import chain_status, facts, newest_start, rows
from cluster.description import read_cluster
from cluster.options import OpenCluster
from cluster.preflight import CheckedCommand, is_our_program, preflight, unseen_from_here
from factory.console.command import resumable
from factory.console.options import AsJson
from factory.console.say import print_facts, print_json, print_table, say
from factory.errors import ConfigError, EditmillError
from factory.storage.open import open_store
from schemas.running.cluster import Cluster

chain_app = typer.Typer(no_args_is_help=True)


@chain_app.command()
@resumable
def chain(
    file: Annotated[
        Optional[str],
        typer.Argument(
            metavar="FILE",
            help="The chain file, local or s3://; of a chain that was begun its root will do.",
        ),
    ] = None,
    cluster: Annotated[
        Optional[str],
        typer.Option(
            help="A cluster file, or `local`: run it there as one job; in place of the file's own."
        ),
    ] = None,
    root: Annotated[
        Optional[str], typer.Option(help="In place of the file's own: a folder or s3:// prefix.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all steps, say what would run, and start nothing."),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="How far it is, from its root alone.")
    ] = False,
    log: Annotated[bool, typer.Option("--log", help="The log of its newest start.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Run done steps as well: each finds what is there."),
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Begin without looking at all steps first.")
    ] = False,
    open_cluster: OpenCluster = False,
    given: Annotated[Optional[str], typer.Option("--given", hidden=True)] = None,
    as_json: AsJson = False,
) -> int:
    """Run the steps of a chain file in turn; run it again to resume, with those that are not done.

    Exit codes: 0 all done, else that of the step that ended it: 2 wrong input, 3 incomplete (run it
    again), 4 a guard stopped it or it kept nothing, 5 damaged.
    """
    found = _chain(file, root, given, cluster)
    if status:
        return _print_status(found.root, as_json)
    if log:
        return _print_log(found.root)
    wanted = cluster or found.cluster
    place = read_cluster(wanted) if wanted is not None else None
    if not unchecked:
        check(found, place, again)
    if dry_run:
        return _print_plan(found, place, as_json)
    if place is not None:
        options = ["--again"] * again + ["--unchecked"] * unchecked
        return _submit(found, place, options, open_cluster, as_json)
    result = run_chain(found, again=again, results=sys.stderr if as_json else sys.stdout)
    if as_json:
        print_json(_json_of(found.root, result.exit_code, result.message))
    return result.exit_code


def _chain(file: str | None, root: str | None, given: str | None, cluster: str | None) -> Chain:
    """By its file, by its root, or as it was sent. Raises `ConfigError`, `RunMismatch`."""
    if given is not None:
        return chain_of(given)
    if file is None:
        raise ConfigError("FILE: must be given, got none")
    if Path(file).is_file() or file.endswith((".yaml", ".yml")):
        return read_chain(file, root, cluster)
    if root is not None:
        raise ConfigError("--root: must be left out where FILE is a root itself, got both")
    record, _, start = newest_start(file)
    return Chain(record.store.uri, start.steps)


def check(found: Chain, place: Cluster | None, again: bool) -> None:
    """Look at every step that is to run. Raises `ConfigError` where one would end with 2."""
    unseen = list(unseen_from_here(place))
    if unseen and "://" not in found.root:
        say(
            f"root {found.root}: must be a folder that all machines share; it is not looked at here"
        )
    if place is not None and not is_our_program(place):
        say(f"working_dir {place.working_dir}: holds another program; its steps are not looked at")
        return
    done = set() if again else done_steps(found, place)
    looks: list[CheckedCommand] = []
    for step in found.steps:
        # What is done is not looked at: its input may be gone by now.
        if step.name in done:
            continue
        looks.append(CheckedCommand(step.words, found.where(step), tuple(unseen)))
        if step.out is not None:
            unseen.append(step.out)
    preflight(looks)


def done_steps(found: Chain, place: Cluster | None) -> set[str]:
    """Names of the steps that are done, as far as the root can be read from here."""
    if unseen_from_here(place) and "://" not in found.root:
        return set()
    try:
        record = ChainRecord(open_store(found.root))
        return {step.name for step in found.steps if is_done(record, step)}
    except EditmillError:
        # Whoever runs them says what is wrong with it.
        return set()


def _submit(
    found: Chain, place: Cluster, options: list[str], open_cluster: bool, as_json: bool
) -> int:
    from cluster.submit import submit

    words = ["chain", "--given", text_of(found), *options]
    if not as_json:
        return submit(place, words, open_cluster)
    with redirect_stdout(sys.stderr):
        code = submit(place, words, open_cluster)
    print_json(_json_of(found.root, code, ""))
    return code


def _json_of(root: str, code: int, message: str) -> dict[str, Any]:
    """How a start ended, and the table where it can be read from here."""
    try:
        plain = chain_status(root).as_json()
    except EditmillError as error:
        plain = {"root": root, "steps": None, "unreadable": str(error)}
    return plain | {"exit_code": code, "message": message}


def _print_status(root: str, as_json: bool) -> int:
    found = chain_status(root)
    if as_json:
        print_json(found.as_json())
    else:
        print_facts(facts(found))
        print_table(("step", "verb", "state", "progress", "time"), rows(found))
    return 0


def _print_log(root: str) -> int:
    record, number, _ = newest_start(root)
    for piece in record.log(number):
        sys.stdout.write(piece.decode(errors="replace"))
    return 0


def _print_plan(found: Chain, place: Cluster | None, as_json: bool) -> int:
    """What would run."""
    done = done_steps(found, place)
    steps = [
        {
            "name": step.name,
            "state": "is done" if step.name in done else "would run",
            "command": f"editmill {shlex.join(step.words)}",
        }
        for step in found.steps
    ]
    if as_json:
        print_json({"root": found.root, "steps": steps})
    else:
        print_facts({"root": found.root})
        for step in steps:
            print(f"{step['name']}: {step['state']}: {step['command']}")
    return 0
