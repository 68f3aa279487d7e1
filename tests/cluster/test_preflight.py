import subprocess
import sys
from pathlib import Path

import pytest

from cluster import preflight as module
from cluster.preflight import CheckedCommand, is_our_program, preflight, unseen_from_here
from factory.errors import ConfigError
from schemas.running.cluster import Cluster

WORDS = ["generate", "--triplets", "s3://bucket/t.jsonl", "--out", "s3://bucket/run"]


def answers(monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> list[list[str]]:
    """What the verb's own check is asked, in place of one that runs."""
    asked: list[list[str]] = []

    def run(words: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        environment = options["env"]
        assert isinstance(environment, dict)
        asked.append([*words, environment["EDITMILL_UNSEEN"]])
        return subprocess.CompletedProcess(words, code, "", said)

    monkeypatch.setattr(module.subprocess, "run", run)
    return asked


def test_a_verb_is_asked_for_what_it_would_refuse_and_is_told_what_not_to_look_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answers(
        monkeypatch, 0, "a note\nchecked: nothing is wrong as far as it can be seen here; n"
    )
    preflight([CheckedCommand(WORDS, "here", ("/", "s3://bucket/pairs"))])
    assert asked == [
        [sys.executable, "-m", "editmill", *WORDS, "--check", '["/", "s3://bucket/pairs"]']
    ]
    assert "here: a note" in capsys.readouterr().err


def test_what_would_end_with_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, 2, "a note\neditmill: --preset: must be one of a, b, got 'c'\n")
    with pytest.raises(ConfigError) as refused:
        preflight([CheckedCommand(WORDS, "FILE:3: steps.pairs")])
    assert str(refused.value) == "FILE:3: steps.pairs: --preset: must be one of a, b, got 'c'"


def test_what_cannot_be_looked_at_is_said_and_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, 3, "editmill: s3://bucket: GetObject had no answer\n")
    preflight([CheckedCommand(WORDS, "here")])
    said = "here: could not be looked at here: s3://bucket: GetObject had no answer\n"
    assert capsys.readouterr().err == said


def test_a_verb_that_cannot_be_checked_is_parsed_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, 2, "")
    preflight([CheckedCommand(["status", "s3://bucket/run"], "here")])
    preflight([CheckedCommand(["config", "show", "--preset", "paper"], "here")])
    assert asked == []
    for words, message in (
        (["status"], "here: Missing argument"),
        (["config", "shew"], "here: config must be followed by show or schema, got 'shew'"),
        (["generate", "--tripletz", "x"], "here: No such option: --tripletz"),
        (["publish"], "here: must begin with a verb of this version, got 'publish'; there are: "),
    ):
        with pytest.raises(ConfigError) as refused:
            preflight([CheckedCommand(words, "here")])
        assert str(refused.value).startswith(message)


def test_paths_are_looked_at_only_where_the_job_runs_on_this_machine() -> None:
    assert unseen_from_here(None) == ()
    assert unseen_from_here(Cluster(address="local")) == ()
    assert unseen_from_here(Cluster(address="http://head:8265")) == ("/",)


@pytest.mark.long
def test_several_are_looked_at_at_once_and_spoken_of_in_their_order(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Really, with the verbs' own `--check`."""
    generate = ["generate", "--preset", "miniature", "--triplets", "miniature", "--out"]
    looks = [CheckedCommand([*generate, str(tmp_path / str(n))], f"step {n}") for n in range(3)]
    preflight(looks)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["step 0", "step 1", "step 2"]
    wrong = CheckedCommand([*generate, str(tmp_path), "--preset", "odd"], "step 3")
    with pytest.raises(ConfigError, match="^step 3: --preset: must be one of fast, miniature"):
        preflight([*looks, wrong])
    assert [*tmp_path.iterdir()] == []


def test_a_folder_with_another_program_is_not_checked_by_this_one(tmp_path: Path) -> None:
    def sent(folder: Path | None) -> bool:
        return is_our_program(
            Cluster(address="local", working_dir=None if folder is None else str(folder))
        )

    assert sent(None)
    assert sent(Path(module.__file__).parents[1])
    assert sent(tmp_path)
    (tmp_path / "editmill.py").write_text("")
    assert not sent(tmp_path)
