"""SIGTERM and SIGINT, whenever they come: exit code 3, in one line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.phases import PHASES

ROOT = Path(__file__).parents[1]
LINE = "editmill: interrupted; run the same command again\n"
COMMANDS = {phase.name: phase.command for phase in PHASES}
RESUMED = "editmill: interrupted; run the same command to resume\n"


@pytest.fixture(scope="module")
def ends():
    """What became of each command that was interrupted, by the phase."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.phases"], cwd=ROOT, capture_output=True, text=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(PHASES), done.stderr
    return {end["phase"]: end for end in found}


@pytest.mark.parametrize("phase", [phase.name for phase in PHASES])
def test_a_command_that_is_interrupted_says_so_and_ends_with_3(ends, phase):
    end = ends[phase]
    assert end["came"], end["err"]
    assert end["code"] == 3, end["err"]
    resumes = ("generate", "demo", "fit", "encode", "evaluate", "train-miniature")
    assert end["err"].endswith(RESUMED if COMMANDS[phase].startswith(resumes) else LINE)
    assert "Traceback" not in end["err"]


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("script", signal.SIGINT),
        ("script", signal.SIGTERM),
        ("editmill", signal.SIGTERM),
        ("factory", signal.SIGINT),
        ("trainer", signal.SIGTERM),
        ("cluster", signal.SIGINT),
    ],
)
def test_so_does_a_program_that_is_still_being_imported(program, name, tmp_path):
    command = ["-m", program]
    if program == "script":
        # As an installer writes it.
        (tmp_path / "editmill").write_text("from editmill import app\napp()\n")
        command = [str(tmp_path / "editmill")]
    process = subprocess.Popen(
        # It tells what it has imported.
        [sys.executable, "-X", "importtime", *command, "--help"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith(" factory.console.signals\n"):
                break
        assert process.stderr.readline()
        process.send_signal(name)
        rest = process.stderr.read()
        assert process.wait(60) == 3, rest
    # What was imported meanwhile may be told after it.
    told = [line for line in rest.splitlines(keepends=True) if not line.startswith("import time:")]
    assert told == [LINE]
    assert "Traceback" not in rest
