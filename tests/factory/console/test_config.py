"""Configurations as they are shown, and what a wrong key was meant to be."""

import json
import re
import shlex

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from editmill import app
from factory.console.config import (
    CAPTION_PRESETS,
    FIT_PRESETS,
    PRESETS,
    preset_names,
    preset_purposes,
    read_config,
)
from factory.console.config_keys import all_keys
from factory.console.config_text import to_yaml
from factory.console.yaml_text import parse_yaml
from schemas.captions import Captions
from schemas.config import Config
from schemas.training.fit import Fit

KINDS = {
    "generate": (Config, PRESETS),
    "fit": (Fit, FIT_PRESETS),
    "captions": (Captions, CAPTION_PRESETS),
}
EVERY = [(of, name) for of, (_, presets) in KINDS.items() for name in preset_names(presets)]


def show(options):
    result = CliRunner().invoke(app, ["config", "show", *shlex.split(options)])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize(("of", "preset"), EVERY)
def test_what_is_shown_of_a_preset_is_a_configuration_that_says_the_same(of, preset, tmp_path):
    kind, presets = KINDS[of]
    file = tmp_path / "shown.yaml"
    file.write_text(show(f"--of {of} --preset {preset}").stdout)
    assert read_config(kind, presets, None, file) == read_config(kind, presets, preset)


SETTINGS = {
    "generate": [
        "recipe.loras=[{source: a/b, scale: 2}, {source: 'no', files: {x: y}}]",
        "recipe.clip.source='1e3'",
        "budget.deadline=2030-01-02T03:04:05+02:00",
        "budget.max_gpu_hours=1e-7",
        "recipe.p=[0,1]",
    ],
    "fit": [
        "law.lora={targets: [to_q, 'null', '1']}",
        "law.learning_rate=1e-9",
        "reading.files='train-*'",
        "reading.columns.edit_prompt='# : [odd]'",
        "watching.wandb='2030-01-01'",
    ],
    "captions": [
        "recipe.kinds={season: 1, 'no': 0.5}",
        "recipe.judge={model: '1e3'}",
        "compute.judge={base_url: 'http://[::1]/v1'}",
        "budget.price_in=1e-7",
    ],
}


@pytest.mark.parametrize("of", KINDS)
def test_odd_values_are_read_back_as_they_were(of, tmp_path):
    kind, presets = KINDS[of]
    file, settings = tmp_path / "shown.yaml", SETTINGS[of]
    options = " ".join(shlex.join(["--set", setting]) for setting in settings)
    file.write_text(show(f"--of {of} --preset paper {options}").stdout)
    assert read_config(kind, presets, None, file) == read_config(
        kind, presets, "paper", None, settings
    )


@pytest.mark.parametrize("of", KINDS)
def test_every_key_stands_below_a_comment_that_says_what_it_means(of):
    lines = show(f"--of {of} --preset paper").stdout.splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r" *\w+:", line)]
    assert len(keys) > 40
    assert all(lines[i - 1].lstrip().startswith("# ") for i in keys)
    kind, presets = KINDS[of]
    info = kind.model_json_schema()["properties"]
    assert all(f"# {info[name]['description']}" in lines for name in info)
    assert lines[0] == f"# preset paper: what `{of}` takes"


def test_keys_that_the_program_sets_are_left_out_until_they_hold_something():
    shown = YAML(typ="safe").load(to_yaml(read_config(Config, PRESETS, "paper"), "x"))
    assert "stage_versions" not in shown["recipe"]
    assert "files" not in shown["recipe"]["clip"]
    fit = YAML(typ="safe").load(to_yaml(read_config(Fit, FIT_PRESETS, "paper"), "x\ny"))
    assert fit["reading"]["files"] is None


def test_a_configuration_is_shown_as_one_json_object_for_machines():
    shown = json.loads(show("--preset fast --json --set recipe.steps=7").stdout)
    assert (shown["recipe"]["steps"], shown["recipe"]["candidates"]) == (7, 32)
    assert json.loads(show("--of fit --preset paper-xl --json").stdout)["law"]["size_px"] == 512


def test_without_a_preset_the_miniature_is_shown_and_others_named():
    result = show("--of fit")
    assert result.stdout.startswith("# preset miniature: ")
    assert "no --preset was given; there are miniature (for trying" in result.stderr
    assert "paper-xl (" in result.stderr


@pytest.mark.parametrize("presets", [PRESETS, FIT_PRESETS])
def test_every_preset_says_in_a_line_what_it_is_for(presets):
    purposes = re.findall(r"([\w-]+) \(([^()]+)\)", preset_purposes(presets))
    assert [name for name, _ in purposes] == preset_names(presets)
    assert all(20 < len(purpose) < 110 for _, purpose in purposes)


@pytest.mark.parametrize(
    ("of", "verb"), [("generate", "generate"), ("fit", "fit"), ("fit", "encode")]
)
def test_the_help_of_a_command_names_every_preset(of, verb):
    shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
    assert all(re.search(rf"\b{name}\b", shown) for name in preset_names(KINDS[of][1]))


def test_every_key_is_known_by_its_whole_name():
    keys = list(all_keys(Config))
    assert keys[:3] == ["recipe", "recipe.run_seed", "recipe.text_to_image"]
    assert {"recipe.thresholds.text", "compute.batch_pairs", "budget.limit"} < set(keys)
    assert len(keys) == len(set(keys))


def test_merged_keys_and_aliases_of_a_few_values_are_read(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "base: miniature\ncompute: &c {threads: 1}\nrecipe:\n  p: &p [0.2, 0.4]\n  guidance: *p\n"
        "budget: {limit: 3}\n"
    )
    found = read_config(Config, PRESETS, None, file)
    assert (found.recipe.guidance, found.compute.threads) == ((0.2, 0.4), 1)
    merged = (
        "base: miniature\nrecipe:\n  keep: &k {most: 2}\n  codec:\n    <<: *k\n    format: png\n"
    )
    file.write_text(merged)
    with pytest.raises(Exception, match=r"c.yaml(:\d+)?: unknown key 'recipe.codec.most'"):
        read_config(Config, PRESETS, None, file)
    assert parse_yaml("[*a]".replace("*a", "1"), "x") == [1]
