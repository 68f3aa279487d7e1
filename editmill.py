"""The one command: the programs of the factory, the trainer and the cluster under one name."""

import sys

from factory.console.signals import answer_signals

if __name__ == "__main__" or sys.argv[0].rpartition("/")[2] == "editmill":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

from importlib.metadata import version
from typing import Annotated

import typer

from cluster.__main__ import app as cluster_app
from factory.__main__ import app as factory_app
from trainer.__main__ import app as trainer_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"editmill {version('editmill')}")
        raise typer.Exit


@app.callback()
def editmill(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """A factory for instruction-editing data."""


for program in (factory_app, trainer_app, cluster_app):
    app.add_typer(program)


if __name__ == "__main__":
    app(prog_name="editmill")
