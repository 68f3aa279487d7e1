"""Command-line options that several commands share."""

from pathlib import Path
from typing import Annotated, Optional

import typer

Preset = Annotated[Optional[str], typer.Option(help="miniature (the default), paper or fast.")]
ConfigFile = Annotated[
    Optional[Path], typer.Option("--config", help="A YAML file; `base:` names a preset.")
]
Settings = Annotated[
    Optional[list[str]], typer.Option("--set", help="key=value, e.g. recipe.steps=25; repeatable.")
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
