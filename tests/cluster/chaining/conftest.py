import sys
from pathlib import Path

import pytest

from cluster.chaining import run

STUB = Path(__file__).with_name("stub.py")


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder by which the stub, which stands for `editmill`, is told what to do."""
    folder = tmp_path / "stub"
    folder.mkdir()
    monkeypatch.setenv("STUB", str(folder))
    monkeypatch.delenv(run.IN_JOB, raising=False)
    monkeypatch.setattr(run, "PROGRAM", (sys.executable, str(STUB)))
    return folder
