"""The commands below `config`: what a configuration is, and what it may say."""

import json
from typing import Annotated, Literal

import typer

from factory.config import load_config
from factory.console import command
from factory.options import ConfigFile, Preset, Settings
from schemas.config import Config
from schemas.fit import Fit

config_app = typer.Typer(no_args_is_help=True, help="Show configurations.")


@config_app.command("show")
@command
def config_show(preset: Preset = None, config: ConfigFile = None, settings: Settings = None) -> int:
    """The configuration after preset, file and settings, as JSON."""
    loaded = load_config(preset, config, settings or [])
    print(json.dumps(loaded.model_dump(mode="json"), indent=2))
    return 0


@config_app.command("schema")
@command
def config_schema(
    of: Annotated[
        Literal["generate", "fit"],
        typer.Option(help="`fit` is also what `encode` and `evaluate` take."),
    ] = "generate",
) -> int:
    """The JSON schema of a configuration: every key with its meaning and range."""
    kind = Config if of == "generate" else Fit
    print(json.dumps(kind.model_json_schema(), indent=2))
    return 0
