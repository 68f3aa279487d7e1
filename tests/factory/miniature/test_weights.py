"""What is claimed of the shipped weights is claimed of these files, this oracle and this preset."""

import json

import pytest

from factory.console.config import load_config, read_config
from factory.miniature.calibration import KIND_SHARE, KINDS, PASSING
from factory.miniature.oracle import ORACLE_VERSION
from factory.miniature.world import SIDE_PX
from factory.models.find import MINIATURE
from factory.models.pin import pin, pin_text_to_image
from schemas.recipe import ModelSource
from schemas.training.fit import Fit
from trainer.__main__ import PRESETS

CARD = json.loads((MINIATURE / "card.json").read_text())
EDITOR = json.loads((MINIATURE / "editor_card.json").read_text())
CALIBRATION = json.loads((MINIATURE / "calibration.json").read_text())


@pytest.fixture(scope="module")
def recipe():
    return pin(load_config("miniature").recipe)


@pytest.mark.parametrize("claims", [CARD, CALIBRATION], ids=["card", "calibration"])
def test_claims_are_of_these_weights_and_the_frozen_oracle(claims, recipe):
    assert claims["files"] == recipe.text_to_image.files | recipe.clip.files
    assert claims["oracle_version"] == ORACLE_VERSION


def test_card_speaks_of_the_presets_sampler(recipe):
    assert (CARD["sampler"]["solver"], CARD["sampler"]["steps"]) == (recipe.solver, recipe.steps)


def test_preset_has_the_calibrated_gates_and_sampler(recipe):
    fields = json.loads(recipe.model_dump_json())
    assert fields["thresholds"] == CALIBRATION["thresholds"]
    assert {name: fields[name] for name in CALIBRATION["sampler"]} == CALIBRATION["sampler"]


@pytest.mark.parametrize("name", CARD["bars"])
def test_models_are_above_their_bars(name):
    assert CARD["state"] == "trained"
    assert CARD["figures"][name] >= CARD["bars"][name]


def test_gates_are_above_their_bars():
    report = CALIBRATION["report"]
    assert report["accepted_true"] >= 0.95
    assert PASSING[0] <= report["passing"] <= PASSING[1]
    assert sum(part >= KIND_SHARE for part in report["part_of_accepted"].values()) >= KINDS


def test_the_editors_claims_are_of_its_weights_the_frozen_oracle_and_the_presets_sampler():
    source, _ = pin_text_to_image(ModelSource(source="miniature/editor"), None, SIDE_PX, "editor")
    assert EDITOR["files"] == source.files
    assert EDITOR["oracle_version"] == ORACLE_VERSION
    preset = read_config(Fit, PRESETS, "miniature-editor", None, [])
    assert EDITOR["sampler"] == preset.watching.sampler.model_dump()
    law = preset.law.model_dump()
    first, *_ = EDITOR["training"]
    assert {name: law.get(name) for name in first} == first | {"seconds": None}


def test_the_editor_is_above_its_bars():
    figures, bars = EDITOR["figures"], EDITOR["bars"]
    assert EDITOR["state"] == "trained"
    assert all(figures[name] >= bar for name, bar in bars["at_least"].items())
    assert all(figures[name] <= bar for name, bar in bars["at_most"].items())
    assert figures["triplets"] >= 1500
    assert figures["pairs"] >= 3000
    assert figures["edits"] == 300


def mib(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def test_family_is_at_most_20_mib_and_48_with_the_editor():
    assert mib(MINIATURE / "text_to_image") + mib(MINIATURE / "clip") <= 20
    assert mib(MINIATURE) <= 48
