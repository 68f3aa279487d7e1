"""A verb as a job on a cluster that begins without a GPU node: how many come and go, one of them killed."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.access import ClusterUnavailable
from cluster.local import LocalCluster, local_cluster
from cluster.nodes import living_nodes
from tests.environment import without_ray

ROOT = Path(__file__).parents[2]
LOOK_EVERY_S = 0.5
BACK_S = 90.0
"""How long nodes may take to be ended when there is nothing left to do."""


@dataclass
class Seen:
    """What a watcher of the cluster's nodes has seen."""

    counts: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the begin, and GPU nodes, whenever they changed."""
    killed: int = 0

    @property
    def most(self) -> int:
        return max((count for _, count in self.counts), default=0)


@dataclass
class Trial:
    """How a job on such a cluster ended."""

    code: int
    result: dict[str, object]
    """The verb's JSON."""
    seen: Seen
    first: int
    """GPU nodes before the job."""
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
            if (
                process.name() == "raylet"
                and parent is not None
                and "monitor.py" in " ".join(parent.cmdline())
            ):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


class Watcher(threading.Thread):
    """Counts GPU nodes, and kills the oldest once when there are as many as asked."""

    def __init__(self, cluster: LocalCluster, kill_at: int | None) -> None:
        super().__init__(daemon=True)
        self.cluster, self.kill_at = cluster, kill_at
        self.seen, self.ended = Seen(), threading.Event()
        self.begun = time.monotonic()

    def count(self) -> int:
        nodes = living_nodes(self.cluster.address, self.cluster.token)
        return sum(node.gpus > 0 for node in nodes)

    def run(self) -> None:
        while not self.ended.wait(LOOK_EVERY_S):
            try:
                count = self.count()
            except ClusterUnavailable:
                continue
            if not self.seen.counts or self.seen.counts[-1][1] != count:
                self.seen.counts.append((round(time.monotonic() - self.begun, 1), count))
            if self.kill_at is not None and count >= self.kill_at and not self.seen.killed:
                with suppress(psutil.NoSuchProcess, IndexError):
                    raylets(self.cluster)[0].kill()
                    self.seen.killed += 1


def job(folder: Path, nodes: int, verb: Sequence[str], kill_at: int | None = None) -> Trial:
    """Submit a verb to a cluster of its own that may come to so many GPU nodes, and watch those.

    `kill_at` kills a node, without notice, once there are so many.
    """
    bin_folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([bin_folder, os.environ["PATH"]])
    with local_cluster(nodes) as cluster:
        file, token = folder / "cluster.yaml", folder / "token"
        file.write_text(f"address: {cluster.address}\n")
        token.touch(mode=0o600)
        token.write_text(cluster.token)
        watcher = Watcher(cluster, kill_at)
        first = watcher.count()
        watcher.start()
        ended = subprocess.run(
            [sys.executable, "-m", "editmill", "submit", str(file), "--", *verb],
            env=without_ray() | {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN_PATH": str(token)},
            capture_output=True,
            text=True,
            timeout=900,
        )
        begun = time.monotonic()
        while (left := watcher.count()) and time.monotonic() - begun < BACK_S:
            time.sleep(LOOK_EVERY_S)
        back_s = time.monotonic() - begun
        watcher.ended.set()
        watcher.join()
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    result = json.loads(lines[-1]) if lines else {}
    words = ended.stdout[-4000:] + ended.stderr[-4000:]
    return Trial(ended.returncode, result, watcher.seen, first, left, back_s, words)


def generating(out: Path, triplets: int, nodes: int) -> list[str]:
    """The main job on the miniature, a triplet a unit; a worker on each GPU node, computing on CPUs."""
    sets = (
        "recipe.unit_triplets=1", "recipe.candidates=4", "recipe.steps=8", "compute.device=cpu",
        "compute.gpus_per_worker=1", "compute.min_workers=1", f"compute.max_workers={nodes}",
    )  # fmt: skip
    words = ["generate", "--json", "--preset", "miniature", "--triplets", "miniature"]
    return [*words, "--out", str(out), "--limit", str(triplets), *_set(sets)]


def editing(pictures: Path, out: Path, nodes: int) -> list[str]:
    """Every picture of a folder, one a unit."""
    sets = (
        "recipe.ip2p.steps=12", "recipe.unit_images=1", "compute.device=cpu", "compute.gpus_per_worker=1",
        "compute.min_workers=1", f"compute.max_workers={nodes}",
    )  # fmt: skip
    words = ["edit", "--json", "--preset", "miniature", "--images", str(pictures)]
    return [*words, "--instruction", "make it red", "--out", str(out), *_set(sets)]


def _set(sets: Sequence[str]) -> list[str]:
    return [word for one in sets for word in ("--set", one)]
