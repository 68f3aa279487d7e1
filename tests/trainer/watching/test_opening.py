"""What `fit` says before its first step."""

import re
from pathlib import Path

import pytest

from factory.console.config import read_config
from schemas.training.fit import Fit
from tests.trainer.encoded import model
from tests.trainer.small import small, train, write_pairs
from trainer.__main__ import PRESETS
from trainer.fit import pin_law, prepare
from trainer.latents.encode import encode_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def said(config, dataset, out):
    lines = []
    prepare(config, dataset, str(out), lines.append)
    return lines


def test_a_new_training_says_what_it_begins_with_and_how_latents_would_be_made(dataset, tmp_path):
    assert said(small(False), dataset, tmp_path) == [
        "begins, 5 steps",
        f"base model: {model()}",
        f"dataset: {dataset}: 14 rows of 7 prompts",
        "latents: none, so pictures are decoded and encoded at every step; `editmill encode --dataset "
        f"{dataset} --out {dataset}/latents` with this configuration does so once for all",
    ]


def test_one_that_goes_on_says_from_which_step(dataset, tmp_path):
    train(small(), dataset, tmp_path)
    longer = small(False, law={"steps": 8})
    assert said(longer, dataset, tmp_path)[0] == "goes on from step 5 of 8"


def test_latents_that_it_found_are_named(tmp_path):
    dataset = write_pairs(tmp_path / "pairs", prompts=2, pairs=1, files=1)
    encode_dataset(small(), dataset, f"{dataset}/latents")
    expected = f"latents: {dataset}/latents; no picture is decoded or encoded"
    assert said(small(False), dataset, tmp_path / "out")[-1] == expected


def test_nothing_is_said_of_what_is_refused(tmp_path):
    lines = []
    with pytest.raises(Exception, match="nowhere"):
        prepare(small(False), str(tmp_path / "nowhere"), str(tmp_path / "out"), lines.append)
    assert lines == []


def test_the_demo_goes_on_from_the_shipped_editor_by_a_configuration_that_is_allowed():
    recipe = (Path(__file__).parents[3] / "Makefile").read_text().partition("\ndemo-train:")[2]
    command = recipe.partition("\n\n")[0]
    (preset,) = re.findall(r"--preset (\S+)", command)
    config = read_config(Fit, PRESETS, preset, None, re.findall(r"--set (\S+)", command))
    assert config.law.model.source == "miniature/editor"
    assert pin_law(config.law).model.files
    # The last step draws the sheet.
    assert config.law.steps == config.watching.sheet_every
    assert command.count("editor") > 2
