"""The commands below `config`: what a configuration is, and what it may say."""

import json

import typer

from factory.config import load_config
from factory.console import command
from factory.options import ConfigFile, Preset, Settings
from schemas.config import Config

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
def config_schema() -> int:
    """The JSON schema of a configuration: every key with its meaning and range."""
    print(json.dumps(Config.model_json_schema(), indent=2))
    return 0
