"""The command as a whole: every verb has help, machines get JSON, results stay on stdout."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editmill import app

ROOT = Path(__file__).parent.parent
VERBS = (
    *("plan", "doctor", "generate", "status", "verify", "seal", "sheet", "demo"),
    *("config", "train-miniature", "encode", "fit", "evaluate", "compare", "edit", "gc"),
    *("select", "purge", "report"),
    *("submit", "chain", "forecast", "up", "down", "jobs", "logs", "stop"),
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_plan_prints_one_json_object_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["plan", "--triplets", "miniature", "--preset", "paper", "--rows-per-s", "500"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    estimate = json.loads(result.stdout)
    assert (estimate["triplets"], estimate["units"]) == (200, 50)
    assert estimate["rows"] == 200 * 100 * 100 * 4
    assert estimate["gpu_hours"] == pytest.approx(estimate["rows"] / 500 / 3600)
    assert list(tmp_path.iterdir()) == []


PAPER = ["plan", "--triplets", "miniature", "--preset", "paper"]


def test_plan_counts_hours_and_cost_on_so_many_gpus():
    arguments = [*PAPER, "--rows-per-s", "500", "--gpus", "64", "--price-per-gpu-hour", "2.5"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (found["gpus"], found["units"]) == (50, 50)
    assert found["hours"] == pytest.approx(found["gpu_hours"] / 50)
    assert found["cost"] == pytest.approx(found["gpu_hours"] * 2.5)
    shown = CliRunner().invoke(app, arguments).stdout
    facts = dict(line.split("  ", 1) for line in shown.splitlines())
    assert {name: fact.strip() for name, fact in facts.items()} == {
        "triplets": "200",
        "duplicates": "0",
        "bad lines": "0",
        "units": "50",
        "candidates": "20000",
        "rows": "8000000",
        "stored": "at most 487.2 MiB",
        "time": "5.3 minutes on 50 GPUs, one for each unit",
        "time of one": "4.4 hours",
        "cost": "11.11",
    }


def test_plan_without_a_rate_says_what_hours_need():
    result = CliRunner().invoke(app, [*PAPER, "--price-per-gpu-hour", "2.5"])
    assert (result.exit_code, result.stdout.split()[-4:]) == (0, ["time", "-", "cost", "-"])
    assert "time and cost need --rows-per-s, which `doctor` measures" in result.stderr


def test_its_version_is_the_installed_ones():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"editmill {version('editmill')}\n")


@pytest.mark.parametrize(("of", "key"), [("generate", "recipe"), ("fit", "law")])
def test_the_schema_says_what_a_command_may_be_told(of, key):
    result = CliRunner().invoke(app, ["config", "schema", "--of", of])
    assert key in json.loads(result.stdout)["properties"]


def test_bundled_list_covers_every_edit_kind():
    from factory.miniature import world
    from factory.pairs.triplets import read_triplets

    triplets = read_triplets("miniature").triplets
    assert {t.edit_kind for t in triplets} == set(world.EDIT_KINDS)
    for triplet in triplets:
        world.parse_caption(triplet.original_prompt)
        world.parse_caption(triplet.edited_prompt)


def test_presets_are_the_released_codes_defaults():
    result = CliRunner().invoke(app, ["config", "show", "--preset", "paper", "--json"])
    recipe = json.loads(result.stdout)["recipe"]
    assert (recipe["steps"], recipe["candidates"], recipe["keep"]["most"]) == (100, 100, 4)
    assert recipe["p"] == [0.1, 0.9]
    assert recipe["guidance"] == [7.5, 15.0]
    assert {k: recipe["thresholds"][k] for k in ("image", "text", "direction")} == {
        "image": 0.7,
        "text": 0.2,
        "direction": 0.2,
    }


@pytest.mark.long
def test_programs_run_as_modules_too():
    for program in ("factory", "trainer", "cluster", "editmill"):
        done = subprocess.run(
            [sys.executable, "-m", program, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
