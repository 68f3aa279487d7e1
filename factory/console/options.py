"""Command-line options that several commands share, and how their values are read."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from factory.console.config import PRESETS, preset_names
from factory.console.log import FILE, FORMAT, LogFormat
from factory.errors import ConfigError


def preset_option(words: str, *presets: Path) -> Any:
    """The option `--preset`, whose values a shell completes; `presets` are the folders they lie in."""

    def begun(incomplete: str) -> list[str]:
        names = sorted({name for folder in presets for name in preset_names(folder)})
        return [name for name in names if name.startswith(incomplete)]

    return typer.Option("--preset", help=words, autocompletion=begun)


OURS = "miniature (for trying), paper or fast"
FITS = "miniature (for trying), miniature-continued, miniature-editor, paper or paper-xl"
EDITS = "miniature (for trying) or paper"
Preset = Annotated[
    Optional[str],
    preset_option(
        f"{OURS}; may be left out for `--triplets miniature`, and where the run is there.", PRESETS
    ),
]
PlanPreset = Annotated[
    Optional[str], preset_option(f"{OURS}; without one triplets are counted, no more.", PRESETS)
]
MiniaturePreset = Annotated[Optional[str], preset_option(f"{OURS}.", PRESETS)]
ConfigFile = Annotated[
    Optional[Path],
    typer.Option("--config", help="A YAML file in place of a preset; `base:` names one."),
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set", help="key=value, e.g. recipe.steps=25; repeatable; `config show` lists the keys."
    ),
]
Triplets = Annotated[
    str,
    typer.Option(help="JSONL, CSV or Parquet, local or s3://; `miniature` is the bundled list."),
]
SomeTriplets = Annotated[
    Optional[str], typer.Option("--triplets", help="As for `generate`: what the run would cost.")
]
MaxBad = Annotated[int, typer.Option(min=0, help="Bad lines to skip and list before refusing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
ToFormat = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        envvar=FORMAT,
        rich_help_panel="Log",
        help="What is said on stderr: text, or one JSON object a line.",
    ),
]
ToFile = Annotated[
    Optional[Path],
    typer.Option(
        "--log-file",
        envvar=FILE,
        rich_help_panel="Log",
        help="Append the same there, one JSON object a line.",
    ),
]
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
