"""Options that several of the cluster's commands take."""

from typing import Annotated

import typer

OpenCluster = Annotated[
    bool,
    typer.Option(
        "--open-cluster", help="Speak to the cluster although it asks nobody for a token."
    ),
]
