"""The commands `up` and `down`."""

import shlex
import subprocess
from typing import Annotated

import typer

from cluster.launching.tool import Launch, launch_of
from cluster.preflight import CheckedCommand, preflight
from factory.console.check import LOCAL_PATHS
from factory.console.command import command
from factory.console.say import say
from factory.console.signals import INCOMPLETE

launching_app = typer.Typer(no_args_is_help=True)

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Ray's launcher YAML, a KubeRay file or SkyPilot's; `cluster/` has some.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Let the tool ask nothing.")]
ShowOnly = Annotated[bool, typer.Option("--dry-run", help="Say the command, and run nothing.")]


@launching_app.command()
@command
def up(file: File, yes: Yes = False, dry_run: ShowOnly = False) -> int:
    """Start the cluster that a file describes, by the tool that it is for; says the command.

    Of a file that brings its job along, a RayJob or SkyPilot's, what would end with 2 there does so here.
    """
    launch = launch_of(file)
    if not dry_run:
        launch.check_environment()
        if launch.runs:
            # On machines whose paths are none of this one's.
            preflight([CheckedCommand(launch.runs, file, (LOCAL_PATHS,))])
    code = run(launch, (*launch.up, *(launch.yes if yes else ())), dry_run)
    if code == 0 and not dry_run:
        say(launch.then)
    return code


@launching_app.command()
@command
def down(file: File, yes: Yes = False, dry_run: ShowOnly = False) -> int:
    """End the cluster that a file describes, with all its machines; says the command."""
    launch = launch_of(file)
    return run(launch, (*launch.down, *(launch.yes if yes else ())), dry_run)


def run(launch: Launch, words: tuple[str, ...], dry_run: bool) -> int:
    """3 where the tool fails: what it began stands, and it may be run again. Raises `ConfigError`."""
    shown = shlex.join([launch.tool, *words])
    if dry_run:
        print(shown)
        return 0
    program = launch.program()
    say(shown)
    code = subprocess.call([program, *words])
    if code:
        say(f"{launch.tool}: ended with {code}; its own words are above")
    return INCOMPLETE if code else 0
