"""Workers that are forks: they have imported all, are who they say, and end with whose place they take."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.environment import python_path
from tests.nursery.family import descendants, who_took
from tests.nursery.start import SOCKET

pytestmark = pytest.mark.long
WORKER = """
import json, os, sys, time
own = [name for name in sys.modules if name.partition(".")[0] in ("factory", "trainer", "schemas")]
print(json.dumps({
    "pid": os.getpid(), "arguments": sys.argv[1:], "torch": "torch" in sys.modules, "own": own,
    "environment": dict(os.environ), "folder": os.getcwd(), "path": sys.path[0],
}), flush=True)
if "stay" in sys.argv:
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """One of its own; the environment by which others find it."""
    folder = tmp_path_factory.mktemp("n")
    (folder / "owner").write_text(str(os.getpid()))
    socket = folder / "socket"
    process = subprocess.Popen([sys.executable, "-m", "tests.nursery.server", str(socket)])
    end = time.monotonic() + 120
    while not socket.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    yield {SOCKET: str(socket), "PYTHONPATH": python_path()}
    process.kill()
    process.wait()


@contextmanager
def worker(place: Path, environment, *arguments):
    """As a raylet starts one; the process that was started, and what the worker says of itself."""
    script = place / "_private/workers/default_worker.py"
    script.parent.mkdir(parents=True)
    script.write_text(WORKER)
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env=os.environ | environment,
        cwd=place,
        stdout=subprocess.PIPE,
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_worker_has_torch_from_its_start_and_nothing_of_ours(nursery, tmp_path):
    with worker(tmp_path, nursery | {"MARK": "here"}, "one", "two") as (process, said):
        assert process.wait(30) == 0
    assert said["pid"] != process.pid
    assert said["arguments"] == ["one", "two"]
    assert said["torch"]
    assert said["own"] == []
    assert said["environment"] == os.environ | nursery | {"MARK": "here"}
    assert said["folder"] == str(tmp_path)
    assert said["path"] == str(tmp_path / "_private/workers")


def test_where_there_is_no_nursery_a_worker_is_itself(nursery, tmp_path):
    environment = nursery | {SOCKET: str(tmp_path / "socket")}
    with worker(tmp_path, environment) as (process, said):
        assert process.wait(30) == 0
    assert said["pid"] == process.pid
    assert not said["torch"]


def test_each_ends_with_the_other(nursery, tmp_path, monkeypatch):
    monkeypatch.setenv(SOCKET, nursery[SOCKET])
    for dies in ("worker", "place"):
        with worker(tmp_path / dies, nursery, "stay") as (process, said):
            assert who_took(process.pid) == said["pid"]
            assert said["pid"] in {one.pid for one in descendants(os.getpid())}
            one = psutil.Process(said["pid"])
            os.kill(said["pid"] if dies == "worker" else process.pid, signal.SIGKILL)
            process.wait(30)
            assert psutil.wait_procs([one], 30)[1] == []
        assert who_took(process.pid) == process.pid


def test_it_ends_with_whoever_began_it(tmp_path):
    owner = subprocess.Popen(["sleep", "600"])
    (tmp_path / "owner").write_text(str(owner.pid))
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.nursery.server", str(tmp_path / "socket")]
    )
    owner.kill()
    owner.wait()
    assert server.wait(120) == 0
    assert not tmp_path.exists()
