"""`make cluster-demo`, whole, and ended early: its chain drains and its cluster ends."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.environment import python_path, without_ray

ROOT = Path(__file__).parents[2]
CHAIN = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("drained", flush=True) or 3))
signal.signal(signal.SIGINT, lambda *_: sys.exit(print("drained", flush=True) or 3))
print("runs", flush=True)
signal.pause()
"""
DEMO = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from cluster import demo

@contextmanager
def scaling(most, tell):
    try:
        if sys.argv[1] == "begins":
            print("runs", flush=True)
            time.sleep(60)
        nodes = SimpleNamespace(most=2, wait_for_none=lambda seconds: 0)
        cluster = SimpleNamespace(address="a", pid=1)
        yield SimpleNamespace(cluster=cluster, nodes=nodes, first=0, file=Path("f"), environment={})
    finally:
        print("cluster ended", flush=True)

demo.scaling_cluster = scaling
sys.exit(demo.main(Path("out")))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("when", "drained"), [("begins", []), ("works", ["drained"])])
def test_a_signal_ends_its_chain_and_then_its_cluster(tmp_path, number, when, drained):
    (tmp_path / "editmill.py").write_text(CHAIN)
    process = subprocess.Popen(
        [sys.executable, "-c", DEMO, when],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": python_path(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "runs\n"
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    words = [line for line in said.splitlines() if line in ("drained", "cluster ended")]
    assert words == [*drained, "cluster ended"]


def named(mark: str) -> list[str]:
    """Processes that were started with it in their surroundings, whoever started them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TRIAL") == mark:
                found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.slow
def test_the_whole_of_it_scales_does_its_work_and_leaves_no_process(tmp_path):
    mark = uuid4().hex
    ended = subprocess.run(
        [sys.executable, "-m", "cluster.demo", str(tmp_path / "out")],
        cwd=ROOT,
        # No processes that stand ready: theirs would be other surroundings.
        env=without_ray() | {"PYTHONPATH": str(ROOT), "TRIAL": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert ended.returncode == 0, ended.stdout
    facts = dict(re.findall(r"^ *(GPU nodes [a-z ]+?)  +(\d+)$", ended.stdout, re.MULTILINE))
    assert facts["GPU nodes before"] == facts["GPU nodes left"] == "0", ended.stdout
    assert int(facts["GPU nodes at most"]) >= 2, ended.stdout
    assert list((tmp_path / "out/judged").glob("evaluation.json")), ended.stdout
    assert named(mark) == []
