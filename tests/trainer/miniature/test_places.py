"""Folders that cannot be written are found before the hours that a miniature takes."""

import tempfile

import pytest
from typer.testing import CliRunner

from editmill import app


@pytest.mark.parametrize("closed", ["out", "work"])
def test_a_folder_without_permission_is_refused_before_anything_is_trained(
    tmp_path, monkeypatch, closed
):
    monkeypatch.chdir(tmp_path)
    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    begin = tempfile.TemporaryFile

    def refuse(*, dir):
        if dir == tmp_path / closed:
            # For the superuser, who may write everywhere.
            raise PermissionError(13, "Permission denied")
        return begin(dir=dir)

    monkeypatch.setattr("factory.storage.places.TemporaryFile", refuse)
    done = CliRunner().invoke(app, ["train-miniature", "--out", "out", "--work", "work"])
    folder = tmp_path / closed
    line = f"editmill: --{closed} {folder}: cannot be written: Permission denied\n"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", line)
    assert [list((tmp_path / name).iterdir()) for name in ("out", "work")] == [[], []]
