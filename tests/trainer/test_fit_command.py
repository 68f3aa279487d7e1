"""`editmill fit` as it is called: exit codes, the one JSON object, a drain, refusals before Ray."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from editmill import app
from factory.console import progress
from tests.environment import without_ray
from tests.trainer.encoded import model
from tests.trainer.small import objects, write_pairs

ROOT = Path(__file__).parent.parent.parent
CONFIG = """\
law:
  model: {{source: {model}}}
  size_px: 16
  steps: {steps}
  batch: 4
compute: {{where: {where}, device: cpu, gpus_per_worker: 0, micro_batch: 2}}
watching: {{report_every: 1, sheet_every: 0, sheet_pairs: 1, tensorboard: false}}
"""


def config(folder, steps=2, where="here"):
    path = folder / "c.yaml"
    path.write_text(CONFIG.format(model=model(), steps=steps, where=where))
    return str(path)


def call(*arguments):
    return CliRunner().invoke(app, ["fit", *map(str, arguments)])


def test_it_trains_and_says_so_in_one_json_object(tmp_path):
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", tmp_path / "out"]
    arguments += ["--config", config(tmp_path), "--json"]
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "step": 2,
        "steps": 2,
        "editor": str(tmp_path / "out" / "editor"),
        "unreadable": 0,
        "truncated": 0,
        "exit_code": 0,
    }
    opening = f"{tmp_path}/c.yaml: {model()}, 16 px, 2 steps of 4 pairs\n"
    assert result.stderr.startswith(opening)
    assert "step 2/2  loss" in result.stderr
    assert (tmp_path / "out" / "editor" / "model_index.json").is_file()


def test_on_a_terminal_a_bar_shows_the_steps_and_how_long_they_take(tmp_path, monkeypatch):
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=120)
    )
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", tmp_path / "out"]
    result = call(*arguments, "--config", config(tmp_path))
    assert result.exit_code == 0, result.output
    shown = re.sub(r"\x1b\[[0-9;?]*\w", "", result.stderr)
    assert re.search(r"steps ━+ 2/2 loss \d\.\d+  \d+\.\d pairs/s", shown), shown
    assert "step 2/2" not in shown, "the bar says it"


def test_latents_are_encoded_and_it_is_said_first_of_what(tmp_path):
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", str(tmp_path / "latents")]
    arguments += ["--config", config(tmp_path)]
    for _ in range(2):
        result = CliRunner().invoke(app, ["encode", *arguments])
        assert result.exit_code == 0, result.output
        assert result.stderr.startswith(f"{tmp_path}/c.yaml: {model()}, 16 px\n")


def test_settings_reach_the_law(tmp_path):
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", tmp_path / "out"]
    arguments += ["--config", config(tmp_path), "--set", "law.steps=1", "--set", "law.seed=7"]
    assert call(*arguments).exit_code == 0
    law = json.loads((tmp_path / "out" / "FIT.json").read_bytes())["law"]
    assert (law["steps"], law["seed"]) == (1, 7)
    assert law["model"]["files"]


def test_a_refusal_comes_before_ray(tmp_path, monkeypatch):
    # Whoever asks for the part that needs Ray gets none.
    monkeypatch.setitem(sys.modules, "trainer.on_ray.fit", None)
    arguments = ["--config", config(tmp_path, where="ray"), "--out", tmp_path / "out"]
    wide = ["--set", "compute.max_workers=9", "--dataset", write_pairs(tmp_path / "pairs")]
    for more in (["--dataset", tmp_path / "nowhere"], wide):
        result = call(*arguments, *more)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("editmill: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.parametrize("where", ["here", "ray"])
def test_sigterm_to_all_its_group_drains_with_a_checkpoint_and_the_same_command_resumes(
    tmp_path, where
):
    arguments = ["fit", "--dataset", write_pairs(tmp_path / "pairs"), "--out", "out"]
    arguments += ["--config", config(tmp_path, steps=100_000, where=where)]
    command = [sys.executable, "-m", "editmill", *arguments]
    environment = without_ray()
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 3/"):
                break
        os.killpg(process.pid, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 3, rest
    finally:
        process.kill()
        process.wait()
    assert "ray" not in rest
    assert rest.endswith("interrupted; run the same command to resume\n")
    (key,) = objects(tmp_path / "out", "checkpoints/")
    step = int(key.removeprefix("checkpoints/").removesuffix(".json"))
    assert step >= 3
    short = ["--set", f"law.steps={step + 1}", "--set", "compute.where=here"]
    result = call(*(str(tmp_path / "out") if a == "out" else a for a in arguments[1:]), *short)
    assert result.exit_code == 0, result.output
    assert f"step {step + 1}/{step + 1}" in result.stderr
