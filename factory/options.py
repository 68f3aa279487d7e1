"""Command-line options that several commands share."""

from pathlib import Path
from typing import Annotated, Optional

import typer

Preset = Annotated[Optional[str], typer.Option(help="miniature, paper or fast.")]
ConfigFile = Annotated[
    Optional[Path], typer.Option("--config", help="A YAML file; `base:` names a preset.")
]
Settings = Annotated[
    Optional[list[str]], typer.Option("--set", help="key=value, e.g. recipe.steps=25; repeatable.")
]
Triplets = Annotated[
    str, typer.Option(help="JSONL or Parquet, local or s3://; `miniature` is the bundled list.")
]
MaxBad = Annotated[int, typer.Option(min=0, help="Bad lines to skip and list before refusing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
RunUri = Annotated[str, typer.Argument(metavar="RUN", help="The run's folder or s3:// prefix.")]
