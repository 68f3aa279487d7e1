"""The preset that is meant where none is given: that of a run that is there, or the miniature's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.console.config import (
    MINIATURE,
    PRESETS,
    Choice,
    choose_config,
    load_config,
    must_be_given,
    preset_names,
)
from factory.errors import EditmillError
from factory.ledger import keys
from factory.ledger.run import differing_fields, open_run
from factory.storage.open import open_store
from schemas.config import Config
from schemas.recipe import Recipe

MOST_SHOWN = 6
"""Differing fields in a message."""


def choose(
    preset: str | None,
    file: Path | None,
    settings: Sequence[str],
    triplets: str | None,
    out: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Choice[Config]:
    """The configuration for a list of triplets and the run at `out`.

    Without a preset or a file a run that is there goes on with the preset that it was begun with, and
    the miniature's own triplets (or none) are made by the miniature, whose models know no other
    captions. Else raises `ConfigError`, as for whatever is wrong with what is given.
    """

    def unasked() -> tuple[str, str]:
        begun = find_recipe(out) if out else None
        found = None
        if begun is not None:
            ours = {
                name: _fields(load_config(name, None, settings).recipe) for name in preset_names()
            }
            found = nearest(ours, _fields(begun))
            if not found.differing:
                return found.preset, f"which the run in {out} was begun with"
        if triplets in (None, MINIATURE):
            return MINIATURE, "for its own triplets"
        there = f"; {out} holds a run by {found.words}" if found else ""
        raise must_be_given("for triplets of your own", PRESETS, there)

    return choose_config(Config, PRESETS, preset, file, settings, options=options, unasked=unasked)


def find_recipe(uri: str) -> Recipe | None:
    """The recipe of the run there; None where there is none, or none that can be read."""
    try:
        store = open_store(uri)
        return open_run(store).recipe if store.find(keys.RUN) is not None else None
    except EditmillError:
        # Who opens it to work there says what is wrong with it.
        return None


@dataclass(frozen=True)
class Nearest:
    """The preset that differs least from what was begun."""

    preset: str
    differing: list[str]
    """As `name: the preset's -> what was begun`."""

    @property
    def words(self) -> str:
        """For a message."""
        shown, more = "; ".join(self.differing[:MOST_SHOWN]), len(self.differing) - MOST_SHOWN
        but = f" but for {shown}" if shown else ""
        return f"--preset {self.preset}{but}{f' and {more} more' if more > 0 else ''}"


def nearest(presets: Mapping[str, Any], begun: Any) -> Nearest:
    """By the fields of each preset and of what was begun."""
    found = [Nearest(name, differing_fields(ours, begun)) for name, ours in presets.items()]
    return min(found, key=lambda one: len(one.differing))


def _fields(recipe: Recipe) -> dict[str, Any]:
    """A recipe's, as they were before its models' files were named by their hashes."""
    fields = recipe.model_dump(mode="json")
    for model in (fields["text_to_image"], fields["autoencoder"], fields["clip"], *fields["loras"]):
        if model:
            del model["files"]
    return fields
