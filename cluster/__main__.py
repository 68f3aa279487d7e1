"""The cluster's commands."""

from factory.signals import answer_signals

if __name__ == "__main__":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

from typing import Annotated

import typer

from cluster.description import read_cluster
from factory.console import command

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the other programs on a Ray cluster.",
)


@app.command()
@command
def submit(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="The cluster file, or `local` for a try on this machine."
        ),
    ],
    verb: Annotated[
        list[str],
        typer.Argument(
            metavar="-- VERB ...", help="What to run there, e.g. -- generate --out s3://…"
        ),
    ],
    open_cluster: Annotated[
        bool,
        typer.Option("--open-cluster", help="Submit although the cluster asks nobody for a token."),
    ] = False,
) -> int:
    """Run a verb as a job on a Ray cluster: its log on stdout, its exit code as this one's."""
    cluster = read_cluster(file)
    from cluster.submit import submit as run_there

    return run_there(cluster, verb, open_cluster)


if __name__ == "__main__":
    # Mounted, as in editmill.py: a program with one command would swallow the verb, and the
    # callback that prevents it makes typer warn wherever the program is mounted without a name.
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.add_typer(app)
    program()
