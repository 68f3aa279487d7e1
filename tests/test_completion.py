"""What a shell completes."""

import pytest
from typer.testing import CliRunner

from editmill import app


def complete(words):
    environment = {
        "_EDITMILL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    return CliRunner().invoke(app, [], prog_name="editmill", env=environment).stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("editmill gen", ["generate"]),
        ("editmill generate --tri", ["--triplets"]),
        ("editmill generate --preset mi", ["miniature"]),
        ("editmill fit --preset pa", ["paper", "paper-xl"]),
        ("editmill config sh", ["show"]),
        ("editmill config show --of f", ["fit"]),
    ],
)
def test_verbs_options_and_presets_are_completed(words, found):
    assert complete(words) == found


def test_completion_can_be_shown_and_installed(tmp_path, monkeypatch):
    from typer import completion

    monkeypatch.setattr(completion, "_get_shell_name", lambda: "bash")
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["--show-completion"], prog_name="editmill")
    assert (shown.exit_code, "_EDITMILL_COMPLETE=complete_bash" in shown.stdout) == (0, True)
    installed = CliRunner().invoke(app, ["--install-completion"], prog_name="editmill")
    assert installed.exit_code == 0, installed.output
    assert (tmp_path / ".bash_completions" / "editmill.sh").is_file()
