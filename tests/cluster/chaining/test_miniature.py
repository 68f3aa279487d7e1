"""The shipped chains on the miniature: killed in the middle, started again, and nothing made twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from cluster.local import LocalCluster
from factory.verbs.demo.edits import draw_pictures
from tests.nursery.family import descendants

CHAINS = Path(__file__).parents[3] / "cluster" / "chains"
LONGEST_S = 500.0
SMALL = {
    "pairs": "--set recipe.candidates=2 --set recipe.steps=4 --set recipe.unit_triplets=1 "
    "--set compute.calls_per_worker=1 --limit 12 "
    "--set 'recipe.thresholds={image: -1, text: -1, direction: -1}'",
    "latents": "--set compute.where=here",
    "editor": "--set compute.where=here --set law.steps=4 --set law.batch=2 --set compute.micro_batch=2 "
    "--set watching.checkpoint_every=1 --set watching.report_every=1",
    "judged": "--edits 4 --set watching.sampler.steps=2",
    "edited": "--set recipe.ip2p.steps=4",
}
"""What makes the shipped chains small: their steps, and what is said besides of each."""


def small(name: str, folder: Path) -> Path:
    """A shipped chain with fewer steps of everything. Only its pairs are made on Ray."""
    chain = YAML(typ="safe").load(CHAINS / f"{name}.yaml")
    steps = chain["steps"]
    for step in steps:
        steps[step] += f" {SMALL.get(step, '')}"
    file = folder / "chain.yaml"
    file.write_text(json.dumps(chain))
    return file


def command(environment: dict[str, str], folder: Path, *words: object) -> "subprocess.Popen[str]":
    """`editmill chain` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "editmill", "chain", *map(str, words)],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(is_so: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + LONGEST_S
    while not is_so():
        ended = process.poll() is not None or time.monotonic() > deadline
        assert not ended, process.communicate()[0]
        time.sleep(0.05)


def contents(*folders: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file below, with when it was written."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def unchanged(before: dict[Path, tuple[int, bytes]]) -> bool:
    """Whether all of it is there as it was: nothing is overwritten, nothing written again."""
    return all(
        (path.stat().st_mtime_ns, path.read_bytes()) == found for path, found in before.items()
    )


def status(environment: dict[str, str], folder: Path, root: Path) -> Any:
    done = command(environment, folder, root, "--status", "--json")
    return json.loads(done.communicate()[0])


def driver_of(head: LocalCluster) -> psutil.Process:
    """The chain itself, as it runs on the cluster."""
    found: list[psutil.Process] = []
    for process in descendants(head.pid):
        with suppress(psutil.NoSuchProcess):  # a worker may end meanwhile
            words = process.cmdline()
            if "--given" in words and words[1:2] == ["-m"]:
                found.append(process)
    # A step that is just forked still has the chain's own words.
    return min(found, key=lambda process: process.create_time())


@pytest.mark.long
def test_a_rebuild_as_a_job_goes_on_where_it_was_killed(
    head: LocalCluster,
    environment: dict[str, str],
    cluster_file: Path,
    token_file: Path,
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    words = (small("rebuild-miniature", tmp_path), "--root", root, "--cluster", cluster_file)
    environment |= {"RAY_AUTH_TOKEN_PATH": str(token_file), "HF_HUB_OFFLINE": "1"}
    commits = root / "pairs" / "commits"
    checkpoints = root / "editor" / "checkpoints"

    # While its pairs are open,
    process = command(environment, tmp_path, *words)
    until(lambda: [*commits.rglob("*.parquet")], process)
    driver_of(head).kill()
    said, _ = process.communicate()
    assert process.returncode == 3, said
    assert "1/5 pairs: editmill generate" in said
    committed = contents(commits)
    found = status(environment, tmp_path, root)
    first, *others = (step["state"] for step in found["steps"])
    assert first in ("running", "open")
    assert others == ["waiting"] * 4

    # and while its editor is trained.
    process = command(environment, tmp_path, *words, "--unchecked")
    until(lambda: [*checkpoints.glob("*.json")], process)
    driver_of(head).kill()
    said, _ = process.communicate()
    assert process.returncode == 3, said
    assert re.search("resuming: [0-9]+ of 12 units are committed", said), said
    assert unchanged(committed)
    assert "its driver was killed by signal 9; run it again" in said
    made = contents(root / "pairs", root / "latents")
    found = status(environment, tmp_path, root)
    states = [step["state"] for step in found["steps"]]
    assert states[:3] == ["done"] * 3
    assert states[3] in ("running", "open")
    assert states[4] == "waiting"

    process = command(environment, tmp_path, *words, "--unchecked")
    said, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said
    assert head.token not in said
    for line in (
        "1/5 pairs: is done",
        "2/5 dataset: is done",
        "3/5 latents: is done",
        "goes on from step",
    ):
        assert line in said
    assert unchanged(made)
    # One commit a unit, whoever made it.
    units = [path.stem for path in commits.rglob("*.parquet")]
    assert len(units) == len(set(units)) == 12
    assert (root / "editor" / "editor" / "model_index.json").is_file()
    assert json.loads((root / "judged" / "evaluation.json").read_text())["edits"] == 4
    found = status(environment, tmp_path, root)
    assert (found["done"], found["start"]) == (True, 2)
    assert found["steps"][3]["progress"] == {"step": 4, "steps": 4, "editor": True}

    said, _ = command(environment, tmp_path, root, "--dry-run", "--unchecked").communicate()
    assert said.count(": is done: editmill ") == 5


@pytest.mark.long
def test_an_edit_goes_on_where_the_chain_was_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    draw_pictures(tmp_path / "demo" / "pictures", 12)
    words = (small("edit-miniature", tmp_path), "--root", root)
    environment |= {"HF_HUB_OFFLINE": "1"}
    commits = root / "edited" / "_editmill" / "commits"

    process = command(environment, tmp_path, *words)
    until(lambda: [*commits.rglob("*.parquet")], process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # What it started ends with it, before anybody starts it again.
    _, left = psutil.wait_procs(family, timeout=60)
    assert not left
    made = contents(commits) | {
        path: found for path, found in contents(root / "edited").items() if path.suffix != ".json"
    }

    process = command(environment, tmp_path, *words, "--json")
    assert process.stdout is not None
    said, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said
    assert "resuming: " in said
    found = json.loads(said.splitlines()[-1])
    assert (found["exit_code"], found["done"]) == (0, True)
    edited, verified = found["steps"]
    assert edited["progress"] == {
        "committed_units": 7,
        "units": 7,
        "counts": {"done": 12, "skipped": 0, "failed": 1},
    }
    assert (verified["state"], verified["progress"]) == ("done", {})
    assert unchanged(made)
    assert len([*(root / "edited").glob("[!.]*.*")]) == 12
    units = [path.stem for path in commits.rglob("*.parquet")]
    assert len(units) == len(set(units)) == 7
