"""The one command: the programs of the factory, the trainer and the cluster under one name."""

import typer

from cluster.__main__ import app as cluster_app
from factory.__main__ import app as factory_app
from trainer.__main__ import app as trainer_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A factory for instruction-editing data.",
)
for program in (factory_app, trainer_app, cluster_app):
    app.add_typer(program)


if __name__ == "__main__":
    app()
