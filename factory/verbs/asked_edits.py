"""What is asked of `edit`, and before it of `plan` and `doctor`: which pictures, and what to change."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.console.amounts import counted
from factory.console.config import (
    EDIT_PRESETS,
    Choice,
    choose_config,
    must_be_given,
    preset_names,
    read_config,
)
from factory.console.options import EDITS, preset_option
from factory.console.say import say
from factory.edits.listing import (
    Listed,
    Wish,
    canonical,
    list_images,
    open_images,
    place_of,
    read_requests,
)
from factory.edits.prepare import check_places, find_recipe
from factory.errors import ConfigError
from factory.lists.read import is_missing
from factory.models.find import Role
from factory.verbs.preset_choice import nearest
from schemas.editors import EDITORS, DiffusersPipeline
from schemas.edits import EditRecipe, Edits
from schemas.recipe import ModelSource

Images = Annotated[
    Optional[str],
    typer.Option(help="Pictures: a folder or s3:// prefix; of --requests, what keys lie below."),
]
Instruction = Annotated[Optional[str], typer.Option(help="What to change in every picture.")]
SourceCaption = Annotated[Optional[str], typer.Option(help="What every picture shows, for p2p.")]
TargetCaption = Annotated[
    Optional[str], typer.Option(help="What every picture should show, for sdedit, p2p and pnp.")
]
Requests = Annotated[
    Optional[str],
    typer.Option(
        help="A list instead: JSONL, CSV or Parquet of image, instruction, seed and more."
    ),
]
Editor = Annotated[
    Optional[str],
    typer.Option(help="ip2p, sdedit, p2p, pnp or diffusers, where a request names none."),
]
Pipeline = Annotated[
    Optional[str],
    typer.Option(
        metavar="[CLASS=]MODEL",
        help="Edit with a diffusers pipeline: its folder, s3:// or hub id@commit; CLASS is a name in "
        "diffusers, or a third party's as module:Class.",
    ),
]
EditPreset = Annotated[
    Optional[str],
    preset_option(f"{EDITS}; may be left out where the run is there.", EDIT_PRESETS),
]
EditSettings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        help="key=value, e.g. recipe.ip2p.steps=25; repeatable; `config show --of edit` lists all.",
    ),
]


PIPELINE_PRESET, PIPELINE_PX = "paper", 1024
"""Whose units and workers `--pipeline` takes where no other is named, and the size it then edits at."""
_NAMED = re.compile(r"([A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?)=(.+)")
_AT_COMMIT = re.compile(r"([^/@]+/[^/@]+)@([0-9a-f]+)")


@dataclass(frozen=True)
class AskedEdits:
    """Pictures of a place and one wish, or a list of requests."""

    images: str | None
    requests: str | None
    wish: Wish
    editor: str | None = None
    """Where a request names none; None is the configuration's."""
    pipeline: str | None = None
    """A diffusers pipeline to edit with, `[CLASS=]MODEL`."""

    @property
    def place(self) -> str:
        """Where pictures are read from."""
        return self.images or place_of(self.requests or "")

    def check(self, out: str | None, look: bool = True) -> None:
        """Raise `InputError` for what contradicts itself, and with `look` for what is not there."""
        asked = [name for name, value in self.wish.fields.items() if value is not None]
        if self.requests is None and self.images is None:
            raise ConfigError("--images or --requests: must be given, got neither")
        if self.requests is None and not asked:
            raise ConfigError("--instruction: must be given with --images, got none")
        if self.requests is not None and asked:
            name = asked[0].replace("_", "-")
            raise ConfigError(f"--{name}: must stand in --requests where that is given, got both")
        for name, value in self.wish.fields.items():
            if value is not None and is_missing(value):
                raise ConfigError(f"--{name.replace('_', '-')}: must say something, got {value!r}")
        if look:
            open_images(self.place)
        if out is not None and self.requests is None:
            check_places(self.place, out)

    def choose(
        self,
        preset: str | None,
        file: Path | None,
        settings: Sequence[str],
        out: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Choice[Edits]:
        """The configuration; without a preset or a file that by which the run at `out` was begun.

        Raises `ConfigError` where there is none, as for whatever is wrong with what is given.
        """

        def unasked() -> tuple[str, str]:
            if self.pipeline is not None:
                return PIPELINE_PRESET, "for --pipeline"
            begun = find_recipe(out) if out else None
            there = ""
            if begun is not None:
                ours = {
                    name: _fields(read_config(Edits, EDIT_PRESETS, name, None, settings).recipe)
                    for name in preset_names(EDIT_PRESETS)
                }
                found = nearest(ours, _fields(begun))
                if not found.differing:
                    return found.preset, f"which the run in {out} was begun with"
                there = f"; {out} holds a run by {found.words}"
            raise must_be_given("for pictures of your own", EDIT_PRESETS, there)

        given = {"--editor": f"recipe.editor={self.editor}"} if self.editor else {}
        given |= options or {}
        said = tuple(settings)
        if self.pipeline is not None:
            settings = [*self._of_pipeline(preset is None and file is None), *settings]
        choice = choose_config(
            Edits, EDIT_PRESETS, preset, file, settings, options=given, unasked=unasked
        )
        recipe = choice.config.recipe.model_copy(update={"images": canonical(self.place)})
        config = choice.config.model_copy(update={"recipe": recipe})
        return Choice(config, choice.origin, said)

    def _of_pipeline(self, alone: bool) -> list[str]:
        """What --pipeline sets; with no preset or file beside it the size as well."""
        assert self.pipeline is not None
        if self.editor not in (None, DiffusersPipeline.NAME):
            raise ConfigError(
                f"--pipeline: must be given with --editor diffusers, got {self.editor}"
            )
        kind, model = None, self.pipeline
        if (named := _NAMED.fullmatch(model)) and not os.path.exists(model):
            kind, model = named.groups()
        hub = _AT_COMMIT.fullmatch(model)
        source = {"source": hub[1], "revision": hub[2]} if hub else {"source": model}
        found = [
            f"recipe.editor={DiffusersPipeline.NAME}",
            f"recipe.diffusers.model={json.dumps(source)}",
        ]
        found += [f"recipe.diffusers.pipeline={json.dumps(kind)}"] if kind else []
        return found + [f"recipe.size_px={PIPELINE_PX}"] * alone

    def listed(self, recipe: EditRecipe, max_bad: int = 0) -> Listed:
        """The pictures. Raises `InputError`."""
        if self.requests is not None:
            return read_requests(self.requests, recipe, max_bad)
        return list_images(recipe, self.wish)


def _fields(recipe: EditRecipe) -> dict[str, object]:
    """A recipe's, as they were before it was begun: of editors the one that every request may ask for."""
    fields = recipe.model_dump(mode="json")
    for name in EDITORS:
        if name != recipe.editor:
            del fields[name]
    for model in ("model", "autoencoder"):
        if fields[recipe.editor].get(model):
            del fields[recipe.editor][model]["files"]
            # Pinning fills in the family of a checkpoint in one file.
            del fields[recipe.editor][model]["name"]
    return fields | {"images": ""}


def headline(choice: Choice[Edits]) -> str:
    """Where the configuration is from, the editor, its model, the size."""
    recipe = choice.config.recipe
    settings = recipe.of(recipe.editor)
    assert settings is not None
    steps = "its own" if settings.steps is None else settings.steps
    return choice.line(
        f"{recipe.editor} by {settings.model.source}, {recipe.size_px} px, {steps} steps"
    )


def models_of(config: Edits) -> list[tuple[str, ModelSource, Role]]:
    """The default editor's models under their keys in the recipe."""
    name = config.recipe.editor
    settings = config.recipe.of(name)
    assert settings is not None
    if isinstance(settings, DiffusersPipeline):
        return [(f"{name}.model", settings.model, "pipeline")]
    models: list[tuple[str, ModelSource, Role]] = [
        (f"{name}.model", settings.model, "text_to_image")
    ]
    if settings.autoencoder:
        models.append((f"{name}.autoencoder", settings.autoencoder, "autoencoder"))
    return models


def tell_of(listed: Listed) -> None:
    """Say what was left out of a list."""
    for line in listed.bad:
        say(f"skipped: {line}")
    if listed.duplicates:
        say(f"{counted(listed.duplicates, 'duplicate request')} collapsed")
