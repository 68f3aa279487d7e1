"""`editmill fit` as it is called: exit codes, the one JSON object, a drain, refusals before Ray."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editmill import app
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
        "exit_code": 0,
    }
    assert "step 2/2  loss" in result.stderr
    assert (tmp_path / "out" / "editor" / "model_index.json").is_file()


def test_settings_reach_the_law(tmp_path):
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", tmp_path / "out"]
    arguments += ["--config", config(tmp_path), "--set", "law.steps=1", "--set", "law.seed=7"]
    assert call(*arguments).exit_code == 0
    law = json.loads((tmp_path / "out" / "FIT.json").read_bytes())["law"]
    assert (law["steps"], law["seed"]) == (1, 7)
    assert law["model"]["files"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["law.stepz=3"], "unknown key 'law.stepz'; did you mean 'steps'?"),
        (["law.batch=0"], "law.batch: Input should be greater than or equal to 1, got 0"),
        (["compute.max_workers=9"], "compute.max_workers: must be at most law.batch, got 9 and 4"),
        (["law.model={source: /nowhere}"], "/nowhere"),
        (["watching.wandb=mine"], "watching.wandb: needs `pip install wandb`, got none"),
    ],
)
def test_a_wrong_configuration_ends_with_2_before_ray_and_writes_nothing(
    tmp_path, monkeypatch, settings, said
):
    _no_ray(monkeypatch)
    arguments = ["--dataset", write_pairs(tmp_path / "pairs"), "--out", tmp_path / "out"]
    arguments += ["--config", config(tmp_path, where="ray")]
    result = call(*arguments, *[part for setting in settings for part in ("--set", setting)])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_wrong_dataset_or_output_ends_with_2_before_ray(tmp_path, monkeypatch):
    _no_ray(monkeypatch)
    given = ["--config", config(tmp_path, where="ray")]
    (tmp_path / "empty").mkdir()
    result = call("--dataset", tmp_path / "empty", "--out", tmp_path / "out", *given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be a sealed run or hold .parquet files, got none" in result.stderr
    assert not (tmp_path / "out").exists()
    pairs = write_pairs(tmp_path / "pairs")
    result = call("--dataset", pairs, "--out", pairs, *given)
    assert result.exit_code == 2
    assert "must be empty or a training, got 'part-0.parquet'" in result.stderr


def _no_ray(monkeypatch):
    """Whoever asks for the part that needs Ray gets none."""
    monkeypatch.setitem(sys.modules, "trainer.on_ray.fit", None)


def test_sigterm_drains_with_a_checkpoint_and_the_same_command_resumes(tmp_path):
    arguments = ["fit", "--dataset", write_pairs(tmp_path / "pairs"), "--out", "out"]
    arguments += ["--config", config(tmp_path, steps=100_000)]
    command = [sys.executable, "-m", "editmill", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 3/"):
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 3, rest
    finally:
        process.kill()
        process.wait()
    assert rest.endswith("interrupted; run the same command to resume\n")
    (key,) = objects(tmp_path / "out", "checkpoints/")
    step = int(key.removeprefix("checkpoints/").removesuffix(".json"))
    assert step >= 3
    short = ["--set", f"law.steps={step + 1}"]
    result = call(*(str(tmp_path / "out") if a == "out" else a for a in arguments[1:]), *short)
    assert result.exit_code == 0, result.output
    assert f"step {step + 1}/{step + 1}" in result.stderr
