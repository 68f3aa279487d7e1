"""Command-line options that several commands share, and how their values are read."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.config import preset_names
from factory.errors import ConfigError


def complete(names: Sequence[str], incomplete: str) -> list[str]:
    """Of these names those that a shell may complete to."""
    return [name for name in names if name.startswith(incomplete)]


Preset = Annotated[
    Optional[str],
    typer.Option(
        help="miniature (for trying, and for `--triplets miniature` the default), paper or fast; "
        "unasked, that of the run that is there.",
        autocompletion=lambda incomplete: complete(preset_names(), incomplete),
    ),
]
ConfigFile = Annotated[
    Optional[Path],
    typer.Option("--config", help="A YAML file in place of a preset; `base:` names one."),
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set", help="key=value, e.g. recipe.steps=25; repeatable; `config schema` lists the keys."
    ),
]
Triplets = Annotated[
    str, typer.Option(help="JSONL or Parquet, local or s3://; `miniature` is the bundled list.")
]
SomeTriplets = Annotated[
    Optional[str], typer.Option("--triplets", help="As for `generate`: what the run would cost.")
]
MaxBad = Annotated[int, typer.Option(min=0, help="Bad lines to skip and list before refusing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
RunUri = Annotated[str, typer.Argument(metavar="RUN", help="The run's folder or s3:// prefix.")]
SomeOut = Annotated[
    Optional[str], typer.Option("--out", help="The run to come: its store is tried, no more.")
]
RowsPerS = Annotated[
    Optional[float], typer.Option(min=0.001, help="UNet rows per second and GPU, for the hours.")
]
Gpus = Annotated[
    Optional[int], typer.Option(min=1, help="How many work (default: by compute.max_workers).")
]
Price = Annotated[Optional[float], typer.Option(min=0, help="For the cost, in any currency.")]


def iso_time(text: str, where: str) -> str:
    """A time that an option was given. Raises `ConfigError`."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError as error:
        why = "" if "isoformat" in str(error) else f": {error}"
        raise ConfigError(
            f"{where}: must be an ISO datetime such as 2030-01-31T18:00, got {text!r}{why}"
        ) from None
