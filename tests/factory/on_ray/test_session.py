"""A Ray of our own lets nobody else in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory.errors import ConfigError
from factory.on_ray.session import _keep_others_out

ROOT = Path(__file__).parents[3]
CODE = """
import os
from factory.on_ray.session import connect
from schemas.config import Compute
connect(Compute(device="cpu", gpus_per_worker=0.0, max_workers=1))
import psutil, ray
assert ray.cluster_resources()["CPU"] > 0
token = os.environ["RAY_AUTH_TOKEN"]
guarded = set()
for process in psutil.Process().children(recursive=True):
    assert token not in " ".join(process.cmdline())
    there = process.environ()
    if (there.get("RAY_AUTH_MODE"), there.get("RAY_AUTH_TOKEN")) == ("token", token):
        guarded.add(process.name())
print("guarded", sorted(guarded & {"gcs_server", "raylet"}))
print("files", os.listdir(os.environ["HOME"]))
"""


def test_a_ray_of_our_own_has_a_token_that_no_file_and_no_command_line_shows(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "guarded ['gcs_server', 'raylet']" in done.stdout
    assert "files []" in done.stdout


def test_a_token_that_the_operator_names_is_kept(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    _keep_others_out()
    assert os.environ["RAY_AUTH_TOKEN"] == "theirs"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/a/file")
    _keep_others_out()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_each_start_has_another_token(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    seen = set()
    for _ in range(3):
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        _keep_others_out()
        seen.add(os.environ["RAY_AUTH_TOKEN"])
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert len(seen) == 3
    assert {len(token) for token in seen} == {64}


def test_an_open_ray_is_not_started(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(
        ConfigError, match="RAY_AUTH_MODE: must be token or unset .* got 'disabled'"
    ):
        _keep_others_out()
