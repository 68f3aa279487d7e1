"""What is said, as lines for machines: on stderr where it is asked for, and in a file of each start."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from editmill import app
from factory.console import log
from factory.console.command import command, resumable
from factory.console.log import KEPT, LogFormat, close_log, note, open_log, tell
from factory.console.progress import Progress
from factory.console.say import say
from factory.errors import ConfigError, RunMismatch

ROOT = Path(__file__).parents[3]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """A log of this test's own."""
    for name in (log.FORMAT, log.FILE, log.FOLDER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(log, "_log", log._Log())


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def kept(tmp_path):
    return sorted((tmp_path / "state" / "editmill" / "logs").glob("*"))


def program(function, make=resumable):
    made = typer.Typer()
    made.command()(make(function))
    return made


def make_pairs(out: str, fails: bool = False) -> int:
    say("hashes the models")
    with Progress("units", 2) as progress:
        progress.advance(pairs=3)
        progress.say("unit 1: no answer", "warning", unit=1)
        progress.advance(pairs=5)
    if fails:
        raise RunMismatch(f"{out}: holds another run")
    return 0


def test_as_json_every_line_is_an_object_with_what_machines_ask_for():
    result = CliRunner().invoke(
        program(make_pairs), ["--log-format", "json", "--fails", "s3://b/run"]
    )
    assert (result.exit_code, result.stdout) == (2, "")
    said = lines(result.stderr)
    assert all(TIME.fullmatch(line["time"]) for line in said)
    assert {(line["verb"], line["run"]) for line in said} == {("make-pairs", "s3://b/run")}
    assert [(line["level"], line["message"]) for line in said] == [
        ("info", "started"),
        ("info", "hashes the models"),
        ("warning", "unit 1: no answer"),
        ("info", "2/2 units, 5 pairs"),
        ("error", "editmill: s3://b/run: holds another run"),
        ("info", "ended"),
    ]
    assert said[2]["fields"] == {"unit": 1}
    assert said[3]["fields"] == {"what": "units", "done": 2, "total": 2, "pairs": 5}
    assert said[4]["fields"] == {"error": "RunMismatch", "exit_code": 2}
    assert said[5]["fields"].keys() == {"exit_code", "seconds"}


def test_text_stays_as_it_was_and_the_file_has_the_same_as_json(tmp_path):
    result = CliRunner().invoke(program(make_pairs), ["run"])
    assert result.stderr.splitlines() == [
        "hashes the models",
        "unit 1: no answer",
        "2/2 units, 5 pairs",
    ]
    (file,) = kept(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-make-pairs-\d+\.jsonl", file.name)
    assert [line["message"] for line in lines(file.read_text())] == [
        "started",
        *result.stderr.splitlines(),
        "ended",
    ]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_environment_says_the_same_as_the_options(tmp_path):
    said = {log.FORMAT: "json", log.FILE: str(tmp_path / "log")}
    result = CliRunner().invoke(program(make_pairs), ["run"], env=said)
    assert result.stderr == (tmp_path / "log").read_text()
    assert len(lines(result.stderr)) == 5
    assert kept(tmp_path) == []


def test_only_starts_that_can_be_resumed_keep_a_file_unasked(tmp_path):
    CliRunner().invoke(program(make_pairs, command), ["run"])
    assert kept(tmp_path) == []


def test_an_empty_folder_keeps_none_and_another_one_is_taken(tmp_path):
    CliRunner().invoke(program(make_pairs), ["run"], env={log.FOLDER: ""})
    assert kept(tmp_path) == []
    CliRunner().invoke(program(make_pairs), ["run"], env={log.FOLDER: str(tmp_path / "logs")})
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_the_oldest_files_make_room(tmp_path):
    folder = tmp_path / "state" / "editmill" / "logs"
    folder.mkdir(parents=True)
    for number in range(KEPT + 5):
        (folder / f"2026-01-01T00-00-{number:02d}-fit-1.jsonl").touch()
    (folder / "notes.txt").touch()
    CliRunner().invoke(program(make_pairs), ["run"])
    left = [file.name for file in kept(tmp_path) if file.suffix == ".jsonl"]
    assert len(left) == KEPT
    assert left[0].startswith("2026-01-01T00-00-06")
    assert (folder / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_keeps_nothing_and_harms_nobody(tmp_path):
    (tmp_path / "state").write_text("")
    result = CliRunner().invoke(program(make_pairs), ["run"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (0, 3)


def test_a_named_file_that_cannot_be_written_is_refused(tmp_path):
    result = CliRunner().invoke(program(make_pairs), ["run", "--log-file", f"{tmp_path}/no/log"])
    assert (result.exit_code, result.stderr) == (
        2,
        f"editmill: --log-file {tmp_path}/no/log: cannot be written: No such file or directory\n",
    )


def test_a_named_file_is_appended_to(tmp_path):
    for _ in range(2):
        CliRunner().invoke(program(make_pairs), ["run", "--log-file", f"{tmp_path}/log"])
    said = lines((tmp_path / "log").read_text())
    assert [line["message"] for line in said].count("started") == 2


def test_no_key_gets_into_a_line_wherever_it_stands(tmp_path, capsys):
    secret = "AKIA" + "A" * 16
    open_log("fit", f"s3://user:{secret}@b", LogFormat.JSON, tmp_path / "log", unasked=False)
    tell(f"refused {secret}", "error", url=f"http://me:{secret}@host", number=3)
    note("Bearer abcdefghijkl", token="sk-0123456789abcdefgh")
    said = capsys.readouterr().err + (tmp_path / "log").read_text()
    assert secret not in said
    assert "abcdefgh" not in said
    assert len(lines(said)) == 3
    assert lines(said)[0]["fields"] == {"url": "http(hidden)host", "number": 3}


def test_a_crash_is_in_the_file(tmp_path):
    def crash(out: str) -> int:
        raise ZeroDivisionError("by none")

    result = CliRunner().invoke(program(crash), ["run"])
    assert isinstance(result.exception, ZeroDivisionError)
    (file,) = kept(tmp_path)
    last = lines(file.read_text())[-1]
    assert (last["level"], last["fields"]["error"]) == ("error", "ZeroDivisionError: by none")
    assert "in crash" in last["fields"]["traceback"]


def test_what_a_bar_shows_is_kept_as_lines(tmp_path, monkeypatch, capsys):
    from rich.console import Console

    from factory.console import progress as of

    monkeypatch.setattr(of, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True))
    open_log("generate", "run", LogFormat.TEXT, tmp_path / "log", unasked=False)
    with Progress("steps", 1) as progress:
        assert progress.has_bar
        say(of.Reached.of("step 1/1  loss 0.5", 1, "loss 0.5"))
        say("checkpoint")
    close_log()
    kept = lines((tmp_path / "log").read_text())
    assert [(line["message"], line.get("fields")) for line in kept] == [
        ("step 1/1  loss 0.5", {"done": 1}),
        ("checkpoint", None),
    ]


def test_as_json_a_terminal_gets_no_bar(monkeypatch, capsys):
    from rich.console import Console

    from factory.console import progress as of

    monkeypatch.setattr(of, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True))
    open_log("generate", "run", LogFormat.JSON, None, unasked=False)
    with Progress("units", 1) as progress:
        assert not progress.has_bar
        progress.advance()
    (line,) = lines(capsys.readouterr().err)
    assert line["message"] == "1/1 units"


def test_a_signals_word_is_a_line_too(tmp_path):
    code = (
        "import os, signal, time\n"
        "from factory.console.signals import answer_signals\n"
        "answer_signals()\n"
        "from factory.console.command import resumable\n"
        "from factory.console.log import LogFormat\n"
        "def wait(out):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(30)\n"
        "resumable(wait)(out='run', log_format=LogFormat.JSON)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {log.FOLDER: str(tmp_path / "logs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    (file,) = (tmp_path / "logs").iterdir()
    for text in (done.stderr, file.read_text()):
        last = lines(text)[-1]
        assert (last["level"], last["message"]) == (
            "warning",
            "editmill: interrupted; run the same command to resume",
        )


def test_every_verb_has_the_options_of_the_log():
    for verb in ("generate", "edit", "encode", "evaluate", "fit", "status", "submit", "plan"):
        shown = CliRunner().invoke(app, [verb, "--help"]).output
        assert "--log-format" in shown, verb
        assert "--log-file" in shown, verb


def test_a_format_that_is_none_is_refused():
    result = CliRunner().invoke(app, ["status", "run", "--log-format", "xml"])
    assert result.exit_code == 2
    assert "'xml' is not one of 'text', 'json'" in result.stderr


def test_the_error_of_a_file_is_told_before_anything_is_started(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        open_log("fit", None, LogFormat.TEXT, tmp_path, unasked=False)
