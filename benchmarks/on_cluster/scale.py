"""Runs of very many units, made by a stub: what the driver pays for a unit, and a start for a run.

python -m benchmarks.on_cluster.scale list FILE CAPTIONS         a list of triplets as Parquet
python -m benchmarks.on_cluster.scale start FILE URI WORKERS     a start through Ray Data, its figures
python -m benchmarks.on_cluster.scale first FILE URI WORKERS     the same, asked to stop at its first unit
python -m benchmarks.on_cluster.scale verify URI                 the same of `verify`

A unit is four triplets of a hundred candidates each, as the paper's preset makes them; its commit takes
some 24 kB. Beside the models all is the product's: draws, keep rule, pairs, commits, roll-ups, seal.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.memory import peak_mib  # noqa: E402
from factory.ledger import keys  # noqa: E402
from factory.ledger.run import Run, open_run  # noqa: E402
from factory.ledger.verify.run import verify  # noqa: E402
from factory.on_ray.units import run_on_ray  # noqa: E402
from factory.pairs.generate import PairMaker, generate_stage, prepare  # noqa: E402
from factory.pairs.source import Draw, Made  # noqa: E402
from factory.pairs.triplets import read_triplets  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from factory.verbs.runs.sealings import sealing_of  # noqa: E402
from factory.work.job import run_job  # noqa: E402
from factory.work.reports import UnitReport  # noqa: E402
from schemas.candidate import Scores  # noqa: E402
from schemas.config import Config  # noqa: E402
from schemas.recipe import ModelSource, Recipe  # noqa: E402
from schemas.running.environment import Environment  # noqa: E402
from tests.chaos.servers import BUCKET, s3_server  # noqa: E402

UNIT_TRIPLETS = 4
CANDIDATES = 100
WORKERS = 2
KINDS = ("colour", "shape", "size", "style")
SERVERS = ("radosgw", "ceph-osd", "ceph-mon")
SIDE = 8
"""Of a picture, in pixels: no picture is of interest here."""
PICTURES = [np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in range(256)]
NAMES = tuple(Scores.model_fields)


def recipe() -> Recipe:
    """The paper's counts; gates that one candidate in a hundred passes."""
    return Recipe.model_validate(
        {
            "text_to_image": ModelSource(source="stub", files={"a": "0" * 64}),
            "clip": ModelSource(source="stub", files={"b": "1" * 64}),
            "candidates": CANDIDATES,
            "unit_triplets": UNIT_TRIPLETS,
            "thresholds": {"image": 0.95, "text": 0.5, "direction": 0.2},
            "keep": {"most": 4},
            "size_px": SIDE,
        }
    )


class ScaleSource:
    """Pictures of one colour, and scores that are a few sums of the seed."""

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made]:
        for draw in draws:
            shares = ((draw.seed >> shift & 1023) / 1023 for shift in (0, 10, 20, 30))
            scores = Scores.model_construct(None, **dict(zip(NAMES, shares, strict=True)))
            picture = PICTURES[draw.seed & 255]
            yield Made(draw, picture, picture, scores, truncated=False)

    def environment(self) -> Environment:
        return Environment(
            device="stub", wheels={}, batch_pairs=1, decode_pairs=1, threads=1, attention="none"
        )


def load(run: Run, compute: Any) -> PairMaker:
    """What a worker holds."""
    return PairMaker(run.recipe, ScaleSource())


def write_list(file: Path, captions: int) -> None:
    """As people bring one: three columns of text and the kind."""
    numbers = range(captions)
    columns = {
        "input": [
            f"a photograph of scene {number} by the river in the evening" for number in numbers
        ],
        "edit": [f"make it the scene number {number} of another season" for number in numbers],
        "output": [f"a photograph of scene {number} by the river in winter" for number in numbers],
        "edit_kind": [KINDS[number % len(KINDS)] for number in numbers],
    }
    pq.write_table(pa.table(columns), file)


def own_cpu_s() -> float:
    """Seconds that this process worked, its children not counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def start(file: str, uri: str, workers: int, *, only_first: bool = False) -> dict[str, Any]:
    """One start of the main job: when it began to make, what the driver worked, how long sealing took.

    `only_first` asks it to stop, as an operator would, when it has made its first unit.
    """
    begun, config = time.monotonic(), _config(workers)
    triplets = read_triplets(file)
    read = time.monotonic()
    with patch("factory.pairs.generate.pin", lambda pinned: pinned):
        run, plan = prepare(config, triplets, uri)
    planned = time.monotonic()
    reports: list[float] = []
    cpu: list[float] = []
    stage = generate_stage(partial(load))

    def runner(*words: Any) -> Iterator[Any]:
        # Ray starts here, before the job listens for signals.
        return counted(run_on_ray(stage)(*words))

    def counted(units: Any) -> Iterator[Any]:
        with closing(units):
            for report in units:
                reports.append(time.monotonic())
                cpu.append(own_cpu_s())
                assert isinstance(report, UnitReport), report
                if only_first and len(reports) == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield report

    result = run_job(stage, run, plan, config, runner)
    ended = time.monotonic()
    made = len(reports)
    figures = {
        "units": len(plan.units),
        "units_made": made,
        "exit_code": result.exit_code,
        "list_s": read - begun,
        "plan_s": planned - read,
        "begin_s": (reports[0] if reports else ended) - begun,
        "seconds": ended - begun,
        "seal_s": ended - (reports[-1] if reports else planned),
        "driver_rss_mib": round(peak_mib(), 1),
    }
    if made > 1:
        figures["units_per_s"] = (made - 1) / (reports[-1] - reports[0])
        figures["driver_ms_per_unit"] = 1000 * (cpu[-1] - cpu[0]) / (made - 1)
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def _config(workers: int) -> Config:
    compute = {
        "device": "cpu",
        "gpus_per_worker": 0,
        "cpus_per_worker": 0.5,
        "min_workers": workers,
        "max_workers": workers,
    }
    return Config.model_validate({"recipe": recipe(), "compute": compute})


def verified(uri: str) -> dict[str, Any]:
    """What reading the whole run again takes."""
    begun = time.monotonic()
    run = open_run(open_store(uri))
    found = verify(run, sealing_of(run).check)
    problems = len(found.damages) + found.open_units
    seconds = round(time.monotonic() - begun, 1)
    return {
        "verify_s": seconds,
        "verify_rss_mib": round(peak_mib(), 1),
        "verify_problems": problems,
    }


def open_again(uri: str, keep: int) -> None:
    """Take away all that was made of units from `keep` on, as if they had never been made."""
    store = open_store(uri)
    first = keys.segment_of(keep)
    for info in list(store.list()):
        key = info.key
        named = keys.commit_name(key)
        unit = named.unit if named else keys.unit_of_data("generate", key)
        is_later = unit is not None and unit >= keep
        number = int(key.removeprefix(keys.SEGMENTS)[:6]) if key.startswith(keys.SEGMENTS) else -1
        if is_later or number >= first or key.startswith(keys.MANIFESTS):
            store.delete(key)


def on_s3(folder: Path, units: int = 5000) -> dict[str, Any]:
    """A run on a real S3 server that shares the two cores; who worked how long, apart."""
    write_list(folder / "s3.parquet", units * UNIT_TRIPLETS)
    with s3_server("ceph"):
        servers = [one for one in psutil.process_iter(["name"]) if one.info["name"] in SERVERS]
        before, machine_before = sum(map(cpu_of, servers)), machine_cpu_s()
        uri = f"s3://{BUCKET}/scale"
        found = child("start", str(folder / "s3.parquet"), uri, str(WORKERS))
        server_s, machine_s = sum(map(cpu_of, servers)) - before, machine_cpu_s() - machine_before
    # Ray's workers are nobody's children: whatever else the machine did was the client's.
    client_s = machine_s - server_s
    return {
        "units_per_s": found["units_per_s"],
        "s3_units": found["units"],
        "s3_workers": WORKERS,
        "s3_seal_s": found["seal_s"],
        "s3_driver_ms_per_unit": found["driver_ms_per_unit"],
        "s3_client_cpu_ms_per_unit": round(1000 * client_s / units, 1),
        "s3_server_cpu_ms_per_unit": round(1000 * server_s / units, 1),
        "s3_exit_code": found["exit_code"],
    }


def in_folder(folder: Path, captions: int) -> dict[str, Any]:
    """A whole run against a folder, verified; resumed to its end where 1 % is open, and to its first unit
    where half is. What one of them found is kept in the folder: called again, it goes on with the next."""
    file, uri = folder / f"{captions}.parquet", str(folder / f"run-{captions}")
    units = -(-captions // UNIT_TRIPLETS)
    if not file.exists():
        write_list(file, captions)
    kept = folder / f"{captions}.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}

    def measure(name: str, *words: str, open_from: int | None = None) -> None:
        if name not in found:
            if open_from is not None:
                open_again(uri, open_from)
            begun = time.monotonic()
            figures = child(*words)
            found[name] = figures | {"process_s": round(time.monotonic() - begun, 1)}
            kept.write_text(json.dumps(found))

    start = (str(file), uri, str(WORKERS))
    if not found:
        # Of a start that was cut off nothing is left: it is to be whole.
        shutil.rmtree(uri, ignore_errors=True)
    measure("whole", "start", *start)
    measure("verified", "verify", uri)
    measure("resumed_at_99", "start", *start, open_from=units * 99 // 100)
    measure("resumed_at_50", "first", *start, open_from=units // 2)
    for share in (99, 50):
        resumed = found[f"resumed_at_{share}"]
        # Of the process, its imports and Ray's start too, to the first unit that is made.
        imports = resumed["process_s"] - resumed["seconds"]
        found[f"resume_at_{share}_s"] = round(resumed["begin_s"] + imports, 1)
    verified = found.pop("verified")
    return found | {name: figure for name, figure in verified.items() if name != "process_s"}


def cpu_of(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def machine_cpu_s() -> float:
    """Seconds that all cores worked."""
    used = psutil.cpu_times()
    return float(sum(used) - used.idle - used.iowait - used.guest - used.guest_nice)


def child(*words: str) -> dict[str, Any]:
    """A verb of this file in a process of its own, whose memory and time are its alone."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.on_cluster.scale", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    verb, *words = sys.argv[1:]
    match verb:
        case "list":
            write_list(Path(words[0]), int(words[1]))
        case "start":
            print(json.dumps(start(words[0], words[1], int(words[2]))))
        case "first":
            print(json.dumps(start(words[0], words[1], int(words[2]), only_first=True)))
        case "verify":
            print(json.dumps(verified(*words)))
