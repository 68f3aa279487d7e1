"""What a person sees of `generate` on a Ray of its own, line by line: of two starts, the second of all."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import python_path, without_ray

ROOT = Path(__file__).parents[3]
LIST = ROOT / "factory/miniature/triplets.jsonl"
HEAD = r"preset miniature: miniature, .* 64 px, 2 steps, 2 candidates a triplet; .*"
LOADING = r"2 units to make; workers load the models first"
SOMETIMES = {r"no GPU here: one worker on CPUs", r"[13]/[24] units, .*"}
"""Where there is none, and where a unit took longer than lines are apart."""
FIRST = [HEAD, LOADING, r"2/2 units, \d pairs?, 8 candidates", r"limit reached: 2 of 100 units.*"]
SECOND = [
    HEAD,
    r"resuming: 2 of 4 units are committed",
    LOADING,
    r"4/4 units, \d pairs?, 8 candidates in this start",
    r"limit reached: 4 of 100 units.*",
]


def generate(folder, *options):
    command = (
        f"-m editmill generate --preset miniature --triplets {LIST} --out run --set recipe.steps=2"
    )
    command += " --set recipe.candidates=2 --set recipe.unit_triplets=2 --set compute.batch_pairs=4"
    return subprocess.run(
        [sys.executable, *command.split(), *options],
        cwd=folder,
        env=without_ray() | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.long
def test_only_lines_of_ours_are_seen_and_a_second_start_counts_as_its_table_does(tmp_path):
    for limit, lines, units in (("4", FIRST, 2), ("8", SECOND, 4)):
        done = generate(tmp_path, "--limit", limit)
        # A whole run without one pair, as two steps give, is none that went well.
        assert done.returncode in (0, 4), done.stderr
        seen = [
            line
            for line in done.stderr.splitlines()
            if not any(re.fullmatch(one, line) for one in SOMETIMES)
        ]
        assert len(seen) == len(lines), done.stderr
        for line, wanted in zip(seen, lines, strict=True):
            assert re.fullmatch(wanted, line), done.stderr
        table = dict(re.findall(r"^(units|candidates) +(.*?) *$", done.stdout, re.MULTILINE))
        assert table == {"units": f"{units} of 100 committed", "candidates": str(4 * units)}
