"""Nothing lost, nothing twice, nothing torn: the ledger under every fault, and what it costs.

python benchmarks/ledger.py                  (from the repository's root; Ceph comes from apt)
python benchmarks/ledger.py --server swift   (weak conditional writes; from PyPI)
python benchmarks/ledger.py --miniature
python benchmarks/ledger.py --stage encode   (edit, evaluate, export; beside `generate`, whose figures stay)
python benchmarks/ledger.py --crash-points   (these alone; the other figures of the result stay)
python benchmarks/ledger.py --damage         (likewise)
python benchmarks/ledger.py --scale 0.05 --server moto --dry

Workers with real models are forks of a process that has imported all that others wrote (`tests/nursery`).
"""

import argparse
import atexit
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.record import RESULTS, machine, recorded, replace_results, write_results  # noqa: E402
from factory.ledger import keys  # noqa: E402
from factory.ledger.plan import write_plan  # noqa: E402
from factory.ledger.run import create_run, open_run  # noqa: E402
from factory.pairs.verify import verify  # noqa: E402
from factory.storage.local import LocalStore  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from tests.chaos.deaths.crash_points import (  # noqa: E402
    DEAD,
    Nursery,
    Point,
    left_by_death,
    recorded_points,
    run_in,
)
from tests.chaos.deaths.resume import assert_resumes  # noqa: E402
from tests.chaos.deaths.scenarios import FRESH, SCENARIOS, Scenario  # noqa: E402
from tests.chaos.servers import BUCKET, s3_server  # noqa: E402
from tests.chaos.subjects.subject import STAGES, class_of  # noqa: E402
from tests.environment import python_path  # noqa: E402
from tests.factory.ledger.damage import (  # noqa: E402
    WRONG,
    eventful,
    flips,
    removals,
    unknowable,
)
from tests.making import generate_unit  # noqa: E402
from tests.nursery import start  # noqa: E402
from tests.stub_source import StubSource, recipe, triplets  # noqa: E402

WHOLE = {
    "worker_kills": 200,
    "driver_kills": 20,
    "node_kills": 5,
    "drain_notices": 100,
    "twins": 5,
    "store_faults": 500,
    "poison": 5,
}


MINIATURE = {
    "subject": "miniature",
    "worker_kills": 10,
    "driver_kills": 3,
    "node_kills": 1,
    "drain_notices": 3,
    "twins": 1,
    "store_faults": 20,
    "outcomes": 3,
    "workers": 2,
    "units": 24,
    "gap": 8,
    "pause": 0,
}
"""The part with real models; a worker takes seconds to load them."""

ENCODE = {
    "subject": "encode",
    "worker_kills": 60,
    "driver_kills": 6,
    "node_kills": 2,
    "drain_notices": 30,
    "twins": 1,
    "store_faults": 30,
    "poison": 1,
    "outcomes": 3,
    "nodes": 3,
    "workers": 4,
    "units": 100,
    "gap": 2,
    "pause": 0.3,
}
"""The stage `encode` with its real maker, on slices of three rows."""

EDIT = ENCODE | {"subject": "edit"}
"""The stage `edit` with its real maker, on units of three pictures."""
EVALUATE = ENCODE | {"subject": "evaluate"}
"""The stage `evaluate` with its real maker, on units of three edits."""
CAPTIONS = ENCODE | {"subject": "captions"}
"""The stage `captions` with its real maker and a server that misbehaves, on units of three captions."""
EXPORT = ENCODE | {"subject": "export", "outcomes": 1}
"""The stage `export` with its real maker, on shards of a triplet's pairs."""
REAL = {
    "encode": ENCODE,
    "edit": EDIT,
    "evaluate": EVALUATE,
    "captions": CAPTIONS,
    "export": EXPORT,
}
"""The other stages of the product."""


def chaos(server: str, amounts: dict) -> dict:
    """Real Ray runs under kills and faults; see `tests/chaos/run.py`."""
    options = [f"--{name.replace('_', '-')}={amount}" for name, amount in amounts.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", f"--server={server}", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    if class_of(amounts.get("subject", "stub")).layout.stage == "generate":
        # Committed candidates of every verdict, not the rejected ones alone.
        figures["recomputed_rejects"] = figures.pop("recomputed")
    figures["units_lost_per_worker_kill_at_most"] = figures.pop("most_open")
    return {**figures, "poison_units_planted": amounts.get("poison", 0)}


def crash_points(most: float, server: str, stage: str = "generate") -> dict[str, object]:
    """Of a stage, die at each point once, start again; any difference raises.

    Commits are as that server has them. A new run on a strong store dies by the end of its process,
    in a folder; every other start by an exception, in a memory store that is as weak as the server.
    """
    commits = "sealed" if server == "swift" else "conditional"
    died, there = {}, {}
    for scenario in SCENARIOS:
        if (scenario.stage, scenario.commits) != (stage, commits):
            continue
        points = recorded_points(scenario)
        there[scenario.name] = len(points)
        points = points[:: max(1, round(1 / most))]
        if scenario == FRESH[stage]:
            die_in_processes(points, scenario)
        else:
            for point in points:
                assert_resumes(left_by_death(scenario, point), scenario)
        died[scenario.name] = len(points)
    return {
        "crash_points": sum(died.values()),
        "crash_points_of": sum(there.values()),
        "crash_points_by_scenario": died,
        "crash_points_commits": commits,
        "crash_points_by_process_end": died["fresh"] if commits == "conditional" else 0,
    }


def die_in_processes(points: list[Point], scenario: Scenario) -> None:
    """Of a new run in a folder, each point in a process that ends there."""
    with Nursery(scenario.stage) as nursery, tempfile.TemporaryDirectory() as name:
        for number, point in enumerate(points):
            folder = Path(name) / str(number)
            assert nursery.die(folder, point) == DEAD, point
            assert_resumes(run_in(folder), scenario)


def damage() -> dict[str, int]:
    """What `verify` finds of harm that is done to a small run with every kind of object, one at a time.

    In a folder, with conditional commits.
    """
    with tempfile.TemporaryDirectory() as name, patch.object(keys, "SEGMENT_UNITS", 2):
        pristine, folder = Path(name) / "pristine" / "run", Path(name) / "run"
        eventful(pristine)
        run = open_run(LocalStore(pristine))
        flipped = [bool(verify(run).damages) for _ in flips(pristine)]
        known = unknowable(pristine)
        removed = [bool(verify(run).damages) for key in removals(pristine) if key not in known]
        altered = []
        for harm in dict(WRONG):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(pristine, folder)
            run = open_run(LocalStore(folder))
            harm(run, folder.parent)
            altered.append(bool(verify(run).damages))
    planted = {"flipped_bytes": flipped, "missing_objects": removed, "altered_objects": altered}
    found = {f"damage_{name}_found": sum(each) for name, each in planted.items()}
    unknown = {"damage_missing_objects_that_nothing_names": len(known)}
    return {f"damage_{name}_planted": len(each) for name, each in planted.items()} | found | unknown


def planning(units: int, server: str) -> dict[str, float]:
    """A start that finds nearly all units committed, at a tenth of them and at all.

    The runs are made in a folder and copied to the server, but for what such a start never reads.
    """
    program = [sys.executable, str(ROOT / "benchmarks" / "ledger_planning.py")]
    found = {}
    with tempfile.TemporaryDirectory() as name, s3_server(server):
        for count in (units // 10, units):
            folder, uri = f"{name}/{count}", f"s3://{BUCKET}/planning-{os.getpid()}-{count}"
            for verb in (["make", folder], ["copy", folder, uri]):
                subprocess.run([*program, *verb, str(count)], check=True)
            done = subprocess.run(
                [*program, "start", uri, str(count)], check=True, stdout=subprocess.PIPE
            )
            found[count] = json.loads(done.stdout)
    name = "seconds_to_plan_100k_units" if units == 100_000 else "seconds_to_plan"
    return {
        name: found[units]["seconds"],
        "planned_units": units,
        "planning_rss_mib": found[units]["rss_mib"],
        "planning_rss_mib_at_a_tenth": found[units // 10]["rss_mib"],
        "seconds_to_read_all_lines": found[units]["read_seconds"],
        "reading_rss_mib": found[units]["read_rss_mib"],
        "reading_rss_mib_at_a_tenth": found[units // 10]["read_rss_mib"],
    }


class TimedSource(StubSource):
    """Knows how long it took to make what it made."""

    seconds = 0.0

    def pairs(self, draws):
        started = time.monotonic()
        made = list(super().pairs(draws))
        self.seconds += time.monotonic() - started
        yield from made


def overhead(server: str, units: int) -> dict[str, float]:
    """All that a unit costs beside its making, as a share of a minute."""
    with s3_server(server):
        store = open_store(f"s3://{BUCKET}/overhead-{os.getpid()}")
        run = create_run(store, recipe(unit_triplets=4))
        plan = write_plan(run, triplets(4 * units), 4)
        source, started = TimedSource(), time.monotonic()
        for unit in plan.units:
            generate_unit(run, plan, unit, source)
        seconds = (time.monotonic() - started - source.seconds) / units
    return {"overhead_ms_per_unit": round(1000 * seconds, 1), "overhead_share": seconds / 60}


def stages_of(name: str) -> dict[str, Any]:
    """What a result says of the other stages of the product."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()).get("stages", {}) if path.exists() else {}
    return found


def put_stage(name: str, stage: str, figures: dict[str, Any], where: dict[str, Any]) -> Path:
    """Put a stage's figures beside those of `generate`, which stay as they are."""
    path = RESULTS / f"{name}.json"
    record = json.loads(path.read_text())
    stages = stages_of(name) | {stage: recorded(figures, where)}
    record["figures"]["stages"] = ["generate", *sorted(stages)]
    path.write_text(json.dumps(record | {"stages": stages}, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="share of every amount")
    parser.add_argument("--server", default="ceph", help="ceph, swift or moto")
    parser.add_argument("--miniature", action="store_true", help="the part with real models alone")
    parser.add_argument("--stage", choices=STAGES, default="generate")
    parser.add_argument("--crash-points", action="store_true", help="these alone")
    parser.add_argument("--damage", action="store_true", help="what verify finds alone")
    parser.add_argument("--units", type=int, default=300, help="units in a round")
    parser.add_argument("--dry", action="store_true", help="print, write no result")
    given = parser.parse_args()
    where = machine()
    # Nine of ten seconds of a real maker's start are imports; its workers are killed all the time.
    start.announce()
    atexit.register(start.end)
    if given.miniature or given.stage in REAL:
        start.begin()
    name = "ledger" if given.server == "ceph" else f"ledger_{given.server}"
    figures: dict[str, Any]
    part = "damage" if given.damage else "crash_points" if given.crash_points else None
    if part == "damage":
        figures = damage()
    elif part:
        figures = crash_points(min(1.0, 4 * given.scale), given.server, given.stage)
    elif given.stage in REAL:
        kills = ("worker_kills", "driver_kills", "node_kills", "drain_notices", "store_faults")
        real = REAL[given.stage]
        amounts = {each: math.ceil(real[each] * given.scale) for each in kills}
        # Beside each other: runs wait for workers, and each loads torch.
        with ThreadPoolExecutor(1) as beside:
            runs = beside.submit(chaos, given.server, real | amounts)
            points = crash_points(min(1.0, 4 * given.scale), given.server, given.stage)
            figures = runs.result() | points
    elif given.miniature:
        name += "_miniature"
        figures = chaos(given.server, MINIATURE)
    else:
        amounts = {each: math.ceil(amount * given.scale) for each, amount in WHOLE.items()}
        figures = chaos(given.server, amounts | {"units": given.units})
        figures |= crash_points(min(1.0, 4 * given.scale), given.server)
        if given.server != "swift":
            figures |= planning(max(100, round(100_000 * given.scale)), given.server)
            figures |= damage()
        figures |= overhead(given.server, max(10, round(200 * given.scale)))
    if given.dry:
        print(json.dumps(figures, indent=1))
    elif given.stage != "generate":
        print(put_stage("ledger", given.stage, figures, where))
    elif part:
        print(replace_results(name, part, figures, where))
    else:
        stages = stages_of(name)
        figures |= {"stages": ["generate", *sorted(stages)]}
        print(write_results(name, figures, where, stages=stages))


if __name__ == "__main__":
    main()
