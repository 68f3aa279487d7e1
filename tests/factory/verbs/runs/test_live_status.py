"""`status --watch`: shows looks until the run is sealed, for people and machines."""

import io
import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from editmill import app
from factory.ledger import looks as of
from factory.ledger.looks import Look
from factory.verbs.runs import live_status
from factory.verbs.runs.live_status import picture, words
from schemas.config import Budget
from tests.factory.ledger.test_looks import finish, make, start
from tests.factory.work.test_toy_stage import Shouted

ROOT = Path(__file__).parents[4]


def call(command):
    return CliRunner().invoke(app, shlex.split(command))


@pytest.fixture
def steps(monkeypatch):
    """What happens between two looks, in place of the time that passes."""
    todo = []
    monkeypatch.setattr(live_status.time, "sleep", lambda _: todo.pop(0)())
    return todo


def test_lines_until_it_is_sealed(tmp_path, steps):
    run, plan = start(tmp_path / "run")
    steps += [lambda: make(run, plan, 0, 1), lambda: None, lambda: finish(run, plan)]
    # While there is news, no seal is asked for.
    steps += [lambda: None]
    result = call(f"status {tmp_path}/run --watch")
    assert result.exit_code == 0
    shown = result.stdout.splitlines()
    assert shown[0] == "0/11 units, 0 accepted, 0 rejected, 0 failed"
    assert shown[1].startswith("2/11 units, ")
    # A look without news is no line.
    assert shown[2].startswith("11/11 units, ")
    assert shown[-1].endswith(", sealed")
    assert len(shown) == 4


def test_as_json_an_object_a_line_and_look(tmp_path, steps):
    run, plan = start(tmp_path / "run")
    steps += [lambda: make(run, plan, 0), lambda: None]
    steps += [lambda: finish(run, plan, budget=Budget(limit=4).model_dump()), lambda: None]
    result = call(f"status {tmp_path}/run --watch --json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [(one["committed_units"], one["ended"]) for one in found] == [
        (0, False),
        (1, False),
        (1, False),
        (2, False),
        (2, True),
    ]
    assert found[-1]["sealed"] == {"sequence": 0, "partial": True}
    assert (found[0]["uri"], found[0]["stage"], found[0]["units"]) == (run.uri, "generate", 11)
    assert set(found[0]) == {
        *("time", "uri", "stage", "units", "committed_units", "counted_units", "failed_units"),
        *("damaged_units", "counts", "units_a_minute", "left_s", "silent_s", "sealed", "ended"),
    }


def test_of_any_stage(tmp_path):
    shouted = Shouted(tmp_path)
    shouted.hush(1)
    shouted.start()
    result = call(f"status {shouted.out} --watch")
    assert result.stdout == "3/3 units, 6 done, 1 failed, 1 units failed, sealed\n"


def test_a_store_that_gives_no_answer_is_asked_again(tmp_path, steps, monkeypatch):
    run, plan = start(tmp_path / "run")
    finish(run, plan)
    true, first = of.Looks.look, []

    def look(self):
        if not first:
            first.append(1)
            raise live_status.StorageUnavailable("no answer")
        return true(self)

    monkeypatch.setattr(of.Looks, "look", look)
    steps += [lambda: None]
    result = call(f"status {tmp_path}/run --watch")
    assert (result.exit_code, result.stderr) == (0, f"{live_status.NO_ANSWER}\n")
    assert result.stdout.endswith(", sealed\n")


def test_what_is_no_run_is_refused(tmp_path):
    result = call(f"status {tmp_path} --watch")
    assert (result.exit_code, "no run here: RUN.json is missing" in result.stderr) == (2, True)


def test_more_often_than_ten_times_a_second_is_refused(tmp_path):
    assert call(f"status {tmp_path} --watch --every 0").exit_code == 2


def a_look(run, **said):
    fields = {
        **{"at": 0.0, "units": 100, "committed_units": 40, "counted_units": 40},
        **{"failed_units": 0, "damaged_units": 0, "each_s": 15.0, "silent_s": 3.0},
        **{"counts": {"accepted": 30, "rejected": 60, "failed": 10}, "sealed": None},
        **{"ended": False},
    }
    return Look(run=run, **(fields | said))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "4.0 a minute, 15 min 0 s left"),
        ({"each_s": None, "silent_s": 7300.0}, "no commit for 2 h 1 min"),
        ({"counted_units": 5, "each_s": None}, "candidates of 5 units so far"),
        ({"damaged_units": 2, "each_s": None}, "2 units damaged: `editmill verify`"),
        ({"ended": True, "sealed": {"sequence": 0, "partial": True}}, "sealed, partial"),
    ],
)
def test_what_is_said_of_a_look(tmp_path, said, expected):
    look = a_look(start(tmp_path)[0], **said)
    assert words(look)[:3] == ["30 accepted", "60 rejected", "10 failed"]
    assert words(look)[-1] == expected


def test_a_picture_shows_the_same(tmp_path):
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(picture(a_look(start(tmp_path)[0])))
    shown = console.export_text()
    assert "generate" in shown
    assert "40 of 100 committed (40.0%)" in shown
    assert "30 (30.0%)" in shown
    assert "4.0 a minute, 15 min 0 s left" in shown


def watching(folder, *options, **streams):
    command = [sys.executable, "-m", "editmill", "status", str(folder), "--watch", *options]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, **streams)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_and_without_a_word(tmp_path, name):
    start(tmp_path)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with watching(tmp_path, "--json", **pipes) as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(name)
        rest, said = process.communicate(timeout=60)
    assert (process.returncode, first["ended"], rest, said) == (0, False, "", "")


def test_on_a_terminal_it_is_redrawn_and_leaves_a_cursor(tmp_path):
    start(tmp_path)
    ours, its = pty.openpty()
    with watching(tmp_path, "--every", "0.2", stdout=its, stderr=its) as process:
        os.close(its)
        shown, until = b"", time.monotonic() + 60
        while shown.count(b"0 of 11 committed") < 3 and time.monotonic() < until:
            if select.select([ours], [], [], 1.0)[0]:
                shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:
                break
            if not more:
                break
            shown += more
        process.wait(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert shown.count(b"0 of 11 committed") >= 3
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is shown again"
    assert b"editmill:" not in shown
