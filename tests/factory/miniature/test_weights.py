"""The shipped weights and their card belong together."""

import json

import pytest

from factory.config import load_config
from factory.miniature.oracle import ORACLE_VERSION
from factory.model_files import MINIATURE
from factory.pinning import pin

CARD = json.loads((MINIATURE / "card.json").read_text())


def test_the_card_speaks_of_the_frozen_oracle_and_the_presets_sampler():
    recipe = load_config("miniature").recipe
    assert CARD["oracle_version"] == ORACLE_VERSION
    assert (CARD["sampler"]["solver"], CARD["sampler"]["steps"]) == (recipe.solver, recipe.steps)


def test_the_card_measured_these_very_weights():
    recipe = pin(load_config("miniature").recipe)
    assert CARD["files"] == recipe.text_to_image.files | recipe.clip.files


@pytest.mark.parametrize("name", CARD["bars"])
def test_the_card_says_trained_only_above_every_bar(name):
    assert CARD["state"] in ("trained", "half-trained")
    if CARD["state"] == "trained":
        assert CARD["figures"][name] >= CARD["bars"][name]


def test_the_family_is_at_most_20_mib():
    size = sum(file.stat().st_size for file in MINIATURE.rglob("*") if file.is_file())
    assert size <= 20 * 2**20
