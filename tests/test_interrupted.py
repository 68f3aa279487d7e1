"""SIGTERM and SIGINT, whenever they come: exit code 3, in one line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from editmill import app
from factory.console.signals import DRAINING
from tests.phases import PHASES

ROOT = Path(__file__).parents[1]
LINE = "editmill: interrupted; run the same command again\n"
PHASE = {phase.name: phase for phase in PHASES}
RESUMABLE = {"generate", "edit", "captions", "demo", "demo-edit", "fit", "encode", "evaluate"}
RESUMABLE |= {"train-miniature", "chain", "export", "select", "purge", "train-language"}
RESUMABLE |= {"captions-prepare", "captions-finetune"}
NOTHING_TO_INTERRUPT = {"config show", "config schema"}
"""Verbs that print what they know."""
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


def verbs(command, *before):
    """All that the command line has, with the groups that they stand in."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {" ".join(before)}
    return {verb for name, one in inner.items() for verb in verbs(one, *before, name)}


def test_every_verb_has_a_phase_or_is_named_as_one_that_has_nothing_to_interrupt():
    known = verbs(typer.main.get_command(app))
    held = {
        verb for verb in known for phase in PHASES if f"{phase.command} ".startswith(f"{verb} ")
    }
    assert known - held - NOTHING_TO_INTERRUPT == set(), "verbs without a phase in tests/phases.py"
    assert known >= NOTHING_TO_INTERRUPT
    assert not held & NOTHING_TO_INTERRUPT


@pytest.mark.long
@pytest.mark.parametrize("phase", [phase.name for phase in PHASES])
def test_a_command_that_is_interrupted_says_so_and_ends_with_3(ends, phase):
    end = ends[phase]
    assert end["came"], end["err"]
    assert end["code"] == 3, end["err"]
    verb = PHASE[phase].command.split()[0]
    words = PHASE[phase].words or (RESUMED if verb in RESUMABLE else LINE)
    assert end["err"].endswith(words)
    assert (DRAINING in end["err"]) == PHASE[phase].drains
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
