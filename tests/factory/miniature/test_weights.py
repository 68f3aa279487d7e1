"""What is claimed of the shipped weights is claimed of these files, this oracle and this preset."""

import json

import pytest

from factory.calibration import KIND_SHARE, KINDS, PASSING
from factory.config import load_config
from factory.miniature.oracle import ORACLE_VERSION
from factory.model_files import MINIATURE
from factory.pinning import pin

CARD = json.loads((MINIATURE / "card.json").read_text())
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


def test_family_is_at_most_20_mib():
    size = sum(file.stat().st_size for file in MINIATURE.rglob("*") if file.is_file())
    assert size <= 20 * 2**20
