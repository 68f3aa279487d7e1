import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.local import LocalCluster, local_cluster
from tests.environment import python_path, without_ray

Submit = Callable[..., "subprocess.CompletedProcess[str]"]

FAKE_PROGRAM = """
import signal, sys, time

def drain(*_):
    time.sleep(5)  # longer than the 3 s after which Ray kills unless told otherwise
    print("drained", flush=True)
    sys.exit(3)

signal.signal(signal.SIGTERM, drain)
print("began", flush=True)
time.sleep(300)
"""


CANARY = "canary0"
KEYS = {
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}ACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret+access/key",
    "OPENAI_API_KEY": f"sk-{CANARY}-openai",
    "HF_TOKEN": f"hf_{CANARY}huggingface",
}
"""On the nodes, as a Kubernetes secret puts them there; they must turn up nowhere."""


@pytest.fixture(scope="session")
def head() -> Iterator[LocalCluster]:
    """One real cluster that asks for a token, shared because it takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        # A head resolves `python` on its PATH, as the image's would.
        bin_folder = str(Path(sys.executable).parent)
        patch.setenv("PATH", os.pathsep.join([bin_folder, os.environ["PATH"]]))
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with local_cluster() as cluster:
            yield cluster


@pytest.fixture
def token_file(head: LocalCluster, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(head.token + "\n")
    return file


@pytest.fixture
def cluster_file(head: LocalCluster, tmp_path: Path) -> Path:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"address: {head.address}\n")
    return file


@pytest.fixture
def program_folder(tmp_path: Path) -> Path:
    """A working_dir whose `editmill` waits, and drains slowly when stopped."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "editmill.py").write_text(FAKE_PROGRAM)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As an operator's shell: no token, and nothing of Ray's."""
    return without_ray() | {"HOME": str(tmp_path / "home"), "PYTHONPATH": python_path()}


@pytest.fixture
def submit(environment: dict[str, str], tmp_path: Path) -> Submit:
    """`editmill submit` in a process of its own."""

    def run(
        *words: str | Path, token_path: Path | None = None, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        if token_path is not None:
            variables["RAY_AUTH_TOKEN_PATH"] = str(token_path)
        return subprocess.run(
            [sys.executable, "-m", "editmill", "submit", *map(str, words)],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run
