"""A verb as a job on a cluster that begins without a GPU node: how many come and go, one of them killed."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from cluster.demo import BACK_S, scaling_cluster
from cluster.local import LocalCluster
from tests.environment import python_path, without_ray

ROOT = Path(__file__).parents[2]


@dataclass
class Trial:
    """How a job on such a cluster ended."""

    code: int
    result: dict[str, object]
    """The verb's JSON."""
    first: int
    """GPU nodes before the job."""
    most: int
    """While it ran."""
    seen: list[tuple[float, int]]
    came: dict[int, float]
    """When so many GPU nodes were there for the first time, in seconds since 1970."""
    killed: int
    killed_at: float
    """By the clock of `seen`."""
    ended_at: float
    """When the job had ended, by the clock of `seen`."""
    left: int
    """GPU nodes after it, once they had time to go."""
    back_s: float
    words: str


def raylets(cluster: LocalCluster) -> list[psutil.Process]:
    """Processes of the GPU nodes, the oldest first; the head's own raylet is no child of the autoscaler."""
    found = []
    for process in psutil.Process(cluster.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            parent = process.parent()
            started_by = " ".join(parent.cmdline()) if parent is not None else ""
            if process.name() == "raylet" and "monitor.py" in started_by:
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def job(nodes: int, verb: Sequence[str], kill_at: int | None = None) -> Trial:
    """Submit a verb to a cluster of its own that may come to so many GPU nodes, and watch those.

    `kill_at` kills a node, without notice, once there are so many.
    """
    killed, killed_at = 0, 0.0
    came: dict[int, float] = {}

    def hear(count: int) -> None:
        nonlocal killed, killed_at
        came.setdefault(count, time.time())
        if kill_at is not None and count >= kill_at and not killed:
            with suppress(psutil.NoSuchProcess, IndexError):
                raylets(scaling.cluster)[0].kill()
                killed += 1
                killed_at = scaling.nodes.seen[-1][0]

    with scaling_cluster(nodes, hear) as scaling:
        ended = subprocess.run(
            [sys.executable, "-m", "editmill", "submit", str(scaling.file), "--", *verb],
            env=without_ray() | {"PYTHONPATH": python_path()} | scaling.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        begun = time.monotonic()
        ended_at = scaling.nodes.clock()
        left = scaling.nodes.wait_for_none(BACK_S)
        back_s = time.monotonic() - begun
    watch = scaling.nodes
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    result = json.loads(lines[-1]) if lines else {}
    words = ended.stdout[-4000:] + ended.stderr[-4000:]
    return Trial(
        code=ended.returncode,
        result=result,
        first=scaling.first,
        most=watch.most,
        seen=watch.seen,
        came=came,
        killed=killed,
        killed_at=killed_at,
        ended_at=ended_at,
        left=left,
        back_s=back_s,
        words=words,
    )


def generating(out: Path, triplets: int, nodes: int) -> list[str]:
    """The main job on the miniature, a triplet a unit; a worker on each GPU node, computing on CPUs."""
    sets = (
        "recipe.unit_triplets=1", "recipe.candidates=4", "recipe.steps=8", "compute.device=cpu",
        "compute.gpus_per_worker=1", "compute.min_workers=1", f"compute.max_workers={nodes}",
    )  # fmt: skip
    words = ["generate", "--json", "--preset", "miniature", "--triplets", "miniature"]
    return [*words, "--out", str(out), "--limit", str(triplets), *_set(sets)]


def editing(pictures: Path, out: Path, nodes: int) -> list[str]:
    """Every picture of a folder, one a unit, so slowly that all nodes come: each takes half a minute to."""
    sets = (
        "recipe.ip2p.steps=36", "recipe.unit_images=1", "compute.device=cpu", "compute.gpus_per_worker=1",
        "compute.min_workers=1", f"compute.max_workers={nodes}",
    )  # fmt: skip
    words = ["edit", "--json", "--preset", "miniature", "--images", str(pictures)]
    return [*words, "--instruction", "make it red", "--out", str(out), *_set(sets)]


def draw(folder: Path, count: int) -> None:
    """Pictures of one colour each."""
    folder.mkdir()
    for number in range(count):
        picture = Image.new("RGB", (64, 64), (number, 255 - number, 90))
        picture.save(folder / f"{number:03d}.png")


def _set(sets: Sequence[str]) -> list[str]:
    return [word for one in sets for word in ("--set", one)]
