"""The commands below `config`: what a configuration is, and what it may say."""

import json
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from factory.console.command import command
from factory.console.config import (
    CAPTION_PRESETS,
    EDIT_PRESETS,
    EVALUATION_PRESETS,
    EXPORT_PRESETS,
    FIT_PRESETS,
    LANGUAGE_PRESETS,
    MINIATURE,
    PRESETS,
    choose_config,
    preset_purposes,
)
from factory.console.config_text import to_yaml
from factory.console.options import EDITS, FITS, OURS, AsJson, ConfigFile, Settings, preset_option
from factory.console.say import say
from schemas.captions import Captions
from schemas.config import Config
from schemas.edits import Edits
from schemas.evaluation import Evaluation
from schemas.export import Export
from schemas.record import Record
from schemas.training.fit import Fit
from schemas.training.language import TrainLanguage

config_app = typer.Typer(no_args_is_help=True, help="Show configurations.")

KINDS: dict[str, tuple[type[Record], Path]] = {
    "generate": (Config, PRESETS),
    "fit": (Fit, FIT_PRESETS),
    "edit": (Edits, EDIT_PRESETS),
    "evaluate": (Evaluation, EVALUATION_PRESETS),
    "captions": (Captions, CAPTION_PRESETS),
    "export": (Export, EXPORT_PRESETS),
    "train-language": (TrainLanguage, LANGUAGE_PRESETS),
}
"""By the command that takes them, with their presets."""
UNASKED = {"captions": "openai", "export": "hf"}
"""Whose is shown where none is named; of all others the miniature's."""

Of = Annotated[
    Literal["generate", "fit", "edit", "evaluate", "captions", "export", "train-language"],
    typer.Option(
        help="`plan` and `doctor` take what `generate` does, `encode` `fit`'s; `evaluate --sweep` takes "
        "`evaluate`'s, without it `fit`'s."
    ),
]
AnyPreset = Annotated[
    Optional[str],
    preset_option(
        f"{OURS}; of `fit` {FITS}; of `edit` and `evaluate` {EDITS}; of `captions` miniature, openai, "
        "paper or vllm; of `train-language` miniature, lora or full; of `export` its formats.",
        PRESETS,
        FIT_PRESETS,
        EDIT_PRESETS,
        EVALUATION_PRESETS,
        CAPTION_PRESETS,
        LANGUAGE_PRESETS,
        EXPORT_PRESETS,
    ),
]


@config_app.command("show")
@command
def config_show(
    of: Of = "generate",
    preset: AnyPreset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """The configuration after preset, file and settings, as YAML that says what each key means.

    `--config` reads it back. Without a preset or a file it is the miniature's, of `captions`
    openai's, of `export` hf's.
    """
    kind, presets = KINDS[of]
    unasked = UNASKED.get(of, MINIATURE)
    choice = choose_config(
        kind, presets, preset, config, settings or [], unasked=lambda: (unasked, "")
    )
    if as_json:
        print(json.dumps(choice.config.model_dump(mode="json"), indent=2))
    else:
        print(to_yaml(choice.config, choice.line(f"what `{of}` takes")), end="")
    if preset is None and config is None:
        say(f"{unasked}'s, since no --preset was given; there are {preset_purposes(presets)}")
    return 0


@config_app.command("schema")
@command
def config_schema(of: Of = "generate") -> int:
    """The JSON schema of a configuration: every key with its meaning and range."""
    print(json.dumps(KINDS[of][0].model_json_schema(), indent=2))
    return 0
