"""The benchmark of bulk edits at its small size: every figure, and what must hold at any size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_small_run_gives_every_figure_and_writes_nothing():
    results = ROOT / "benchmarks" / "results" / "edits.json"
    before = results.read_bytes() if results.exists() else None
    ended = subprocess.run(
        [sys.executable, "benchmarks/edits.py", "--tiny", "--dry"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout[ended.stdout.index("{") :])
    assert (figures["edited_once"], figures["reasons"]) == (16, 20)
    assert figures["stray"] == figures["falsely_failed"] == figures["kills_exit_code"] == 0
    assert figures["over_plain_loop"] > 0
    assert figures["over_plain_loop_mixed"] > 0
    assert 0 <= figures["waiting_share"] < 1
    assert figures["above_sdedit"] in (True, False)
    for editor in ("p2p", "pnp"):
        assert set(figures[f"places_{editor}_keeps_place"]) >= {"above", "least_margin", "pictures"}
    assert figures["memory_plan_bytes_per_image"] < 100_000
    assert abs(figures["memory_run_bytes_per_image"]) < 1_000_000
    assert (results.read_bytes() if results.exists() else None) == before
