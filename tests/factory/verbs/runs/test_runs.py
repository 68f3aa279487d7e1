"""The commands on a run as they are called: runs a step off, and what is said of a seal."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.console.config import load_config
from factory.pairs.generate import prepare
from factory.pairs.triplets import read_triplets
from tests.bad_input.materials import Grey, models, run
from tests.making import run_here, run_job

VERBS = ("status", "verify", "seal", "gc", "sheet")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A run in a folder in a folder, and another beside it."""
    monkeypatch.chdir(tmp_path)
    models()
    run()
    Path("demo/old").mkdir(parents=True)
    Path("run").rename("demo/run-1")
    return tmp_path


def call(command):
    return CliRunner().invoke(app, shlex.split(command))


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_holds_a_run_points_to_it(verb, runs):
    more = " --out s.png" if verb == "sheet" else ""
    result = call(f"{verb} demo{more}")
    assert result.exit_code == 2
    assert result.stderr == (
        f"editmill: {runs}/demo: no run here: RUN.json is missing; did you mean "
        f"`editmill {verb} demo/run-1`?\n"
    )


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        (".", "./demo/run-1"),
        ("demo/", "demo/run-1"),
        ("demo/run-1/pairs", "demo/run-1"),
        ("demo/run-1/RUN.json", "demo/run-1"),
        ("demo/run-1/commits/000000", "demo/run-1"),
    ],
)
def test_a_run_is_found_further_in_and_further_out(named, meant, runs):
    said = call(f"status {named}").stderr
    assert said.endswith(f"; did you mean `editmill status {meant}`?\n"), said


def test_of_several_runs_the_others_are_counted(runs):
    Path("demo/old/run-0").mkdir()
    Path("demo/old/run-0/RUN.json").write_bytes(Path("demo/run-1/RUN.json").read_bytes())
    assert "`editmill verify demo/run-1` (and 1 more)?" in call("verify demo").stderr


def test_a_folder_without_runs_points_nowhere(runs):
    for name in ("demo/old", "nowhere"):
        said = call(f"status {name}").stderr
        assert said == f"editmill: {runs}/{name}: no run here: RUN.json is missing\n"


def test_a_seal_is_whole_or_partial(runs):
    shown = call("verify demo/run-1")
    assert (shown.exit_code, "sealed      partial" in shown.stdout) == (0, True)
    found = json.loads(call("verify demo/run-1 --json").stdout)
    assert (found["sealed"], found["partial"]) == (True, True)
    finished = load_config(file=Path("c.yaml"))
    opened, plan = prepare(finished, read_triplets("t.jsonl"), "demo/run-1")
    run_job(opened, plan, finished, run_here(lambda _: Grey()))
    assert "sealed      whole" in call("verify demo/run-1").stdout
    assert json.loads(call("verify demo/run-1 --json").stdout)["partial"] is False


def test_a_run_without_a_seal_is_said_to_have_none(runs):
    for path in (*Path("demo/run-1/manifest").rglob("*.*"),):
        path.unlink()
    shown = call("verify demo/run-1")
    assert "sealed      no" in shown.stdout
    found = json.loads(call("verify demo/run-1 --json").stdout)
    assert (found["sealed"], found["partial"]) == (False, None)


@pytest.mark.parametrize("verb", VERBS[:-1])
def test_a_machine_reads_names_with_underscores_and_a_person_with_blanks(verb, runs):
    finished = load_config(file=Path("c.yaml"))
    opened, plan = prepare(finished, read_triplets("t.jsonl"), "demo/run-1")
    run_job(opened, plan, finished, run_here(lambda _: Grey()))
    shown = call(f"{verb} demo/run-1")
    assert shown.exit_code == 0
    assert not any("_" in line.partition("  ")[0] for line in shown.stdout.splitlines())
    assert all(name.isidentifier() for name in json.loads(call(f"{verb} demo/run-1 --json").stdout))
