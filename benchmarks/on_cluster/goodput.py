"""How much of what preempted nodes cost becomes committed work, at a tenth of a cloud's times.

python benchmarks/cluster.py --only goodput     (from the repository's root; 20 quiet minutes)

Each node is taken away 360 s after it came, with a notice of 12 s, and another comes in its place. A unit
takes 6 s, a worker's loading 6 s: a tenth of what is common, as are the 360 s of an hour. What Ray itself
takes, an actor's start and its imports, cannot be made ten times shorter and counts in full.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import ray  # noqa: E402

from factory.ledger.book import Book  # noqa: E402
from factory.ledger.plan import Row, read_plan  # noqa: E402
from factory.ledger.run import Run, open_run  # noqa: E402
from factory.on_ray.units import run_on_ray  # noqa: E402
from factory.pairs.generate import PairMaker, generate_stage, prepare  # noqa: E402
from factory.pairs.triplets import TripletList  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from factory.work.job import run_job  # noqa: E402
from schemas.config import Config  # noqa: E402
from schemas.recipe import Recipe  # noqa: E402
from tests.chaos.nodes import Nodes  # noqa: E402
from tests.environment import without_ray  # noqa: E402
from tests.stub_source import StubSource, recipe, triplets  # noqa: E402

UNIT_S = 6.0
LOAD_S = 6.0
LIFE_S = 360.0
NOTICE_S = 12.0
NODES = 4
SECONDS = 1200.0
LOOK_EVERY_S = 0.25
NOTES = "EDITMILL_GOODPUT_NOTES"
"""Names the folder in which each worker notes when it had loaded, under its node's id."""


class SlowMaker(PairMaker):
    """A unit takes as long as is said, and hardly any of the processor; a worker's calls take turns, as
    they do at a GPU.
    """

    def __init__(self, recipe: Recipe, source: StubSource) -> None:
        super().__init__(recipe, source)
        self._turn = threading.Lock()

    def make(self, unit: int, items: Sequence[Row]) -> Any:
        with self._turn:
            ends = time.monotonic() + UNIT_S
            made = super().make(unit, items)
            time.sleep(max(0.0, ends - time.monotonic()))
            return made


def load(run: Run, compute: Any) -> SlowMaker:
    time.sleep(LOAD_S)
    node = ray.get_runtime_context().get_node_id()
    Path(os.environ[NOTES], node).write_text(str(time.time()))
    return SlowMaker(run.recipe, StubSource())


def drive(folder: str, units: int) -> int:
    """The job; it ends when it is told to, or has no unit left."""
    compute = {
        "device": "cpu", "gpus_per_worker": 0, "cpus_per_worker": 1, "min_workers": 1,
        "max_workers": NODES,
    }  # fmt: skip
    config = Config.model_validate(
        {"recipe": recipe(candidates=2, unit_triplets=1).model_dump(), "compute": compute}
    )
    with patch("factory.pairs.generate.pin", lambda pinned: pinned):
        run, plan = prepare(config, TripletList(triplets(units)), folder)
    stage = generate_stage(load)
    return run_job(stage, run, plan, config, run_on_ray(stage)).exit_code


@dataclass
class Life:
    """Of one node, by this machine's clock."""

    came: float
    leaves: float
    """When it is to be taken away."""
    gone: float | None = None


def measured(folder: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """As `measure`, in a process of its own: Ray reads these once, as it is imported."""
    ray_reads = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.urandom(32).hex(),
        # It listens on 127.0.0.1, which Ray would turn into this machine's address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.on_cluster.goodput", "measure", folder, str(seconds)],
        cwd=ROOT,
        env=without_ray() | ray_reads | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index(b"{") :])
    return found


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Committed unit-seconds over the seconds that nodes were there.

    A node is there from its raylet's registration until it is taken away. The time begins when the last
    of the first nodes has registered and the job is started, so that the driver's own start counts, too;
    those first ones leave at different times, as if they had come one after another. Beside it the share
    without what starts cost: over the seconds since each worker had loaded.
    """
    notes = folder / "loaded"
    notes.mkdir(parents=True)
    os.environ[NOTES] = str(notes)
    cluster, lives, told = Nodes(NODES, 1), {}, 0
    try:
        begun = time.time()
        for place, node in enumerate(cluster.staying()):
            lives[node] = Life(begun, begun + LIFE_S * (place + 1) / NODES)
        job = _start(folder / "run", int(seconds / UNIT_S * NODES), cluster.address)
        while time.time() < begun + seconds and job.poll() is None:
            for node in cluster.staying():
                if time.time() >= lives[node].leaves - NOTICE_S:
                    cluster.give_notice(node, NOTICE_S)
                    told += 1
            leaving = set(cluster.leaving)
            cluster.take_away()
            for node in leaving - set(cluster.leaving):
                lives[node].gone = time.time()
            cluster.refill()
            for node in cluster.staying():
                now = time.time()
                lives.setdefault(node, Life(now, now + LIFE_S))
            time.sleep(LOOK_EVERY_S)
        ended, code = time.time(), job.poll()
        run = open_run(open_store(str(folder / "run")))
        committed = Book(run, read_plan(run)).committed().count(1)
        job.terminate()
        job.wait(120)
    finally:
        cluster.close()
    ends = {node.node_id: life.gone or ended for node, life in lives.items()}
    lived = sum((life.gone or ended) - life.came for life in lives.values())
    loaded = {note.name: float(note.read_text()) for note in notes.iterdir()}
    worked = sum(max(0.0, ends[node] - at) for node, at in loaded.items() if node in ends)
    return {
        "goodput_under_preemption": round(committed * UNIT_S / lived, 4),
        "goodput_without_starts": round(committed * UNIT_S / worked, 4),
        "goodput_units": committed,
        "goodput_node_seconds": round(lived, 1),
        "goodput_preemptions": sum(life.gone is not None for life in lives.values()),
        "goodput_notices": told,
        "goodput_seconds": round(ended - begun, 1),
        "goodput_nodes": NODES,
        "goodput_ended_early": code,
    }


def _start(folder: Path, units: int, address: str) -> "subprocess.Popen[bytes]":
    """The job, in a process of its own: nodes can be started from the main thread alone."""
    words = ["drive", str(folder), str(units)]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.on_cluster.goodput", *words],
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"},
    )


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "drive":
        sys.exit(drive(words[0], int(words[1])))
    print(json.dumps(measure(Path(words[0]), float(words[1])), indent=1))
