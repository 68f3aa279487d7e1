"""Runs of very many units, made by a stub: what the driver pays for a unit, and a start for a run.

python -m benchmarks.on_cluster.scale list FILE CAPTIONS     a list of triplets as Parquet
python -m benchmarks.on_cluster.scale start FILE URI         a start through Ray Data; prints its figures
python -m benchmarks.on_cluster.scale verify URI             the same of `verify`

A unit is four triplets of a hundred candidates each, as the paper's preset makes them; its commit takes
some 24 kB. Beside the models all is the product's: draws, keep rule, pairs, commits, roll-ups, seal.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from factory.ledger.run import Run, open_run  # noqa: E402
from factory.ledger.verify.run import verify  # noqa: E402
from factory.on_ray.units import run_on_ray  # noqa: E402
from factory.pairs.generate import PairMaker, generate_stage, prepare  # noqa: E402
from factory.pairs.source import Draw, Made  # noqa: E402
from factory.pairs.triplets import read_triplets  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from factory.verbs.runs import CHECKS  # noqa: E402
from factory.work.job import run_job  # noqa: E402
from factory.work.reports import UnitReport  # noqa: E402
from schemas.candidate import Scores  # noqa: E402
from schemas.config import Config  # noqa: E402
from schemas.environment import Environment  # noqa: E402
from schemas.recipe import ModelSource, Recipe  # noqa: E402

UNIT_TRIPLETS = 4
CANDIDATES = 100
WORKERS = 2
KINDS = ("colour", "shape", "size", "style")
SIDE = 8
"""Of a picture, in pixels: no picture is of interest here."""


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
            parts = [draw.seed >> shift & 1023 for shift in (0, 10, 20, 30)]
            names = zip(Scores.model_fields, parts, strict=True)
            scores = Scores(**{name: part / 1023 for name, part in names})
            picture = np.full((SIDE, SIDE, 3), draw.seed & 255, np.uint8)
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


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def start(file: str, uri: str) -> dict[str, Any]:
    """One start of the main job: when it began to make, what the driver worked, how long sealing took."""
    begun, config = time.monotonic(), _config()
    triplets = read_triplets(file)
    read = time.monotonic()
    with patch("factory.pairs.generate.pin", lambda pinned: pinned):
        run, plan = prepare(config, triplets, uri)
    planned = time.monotonic()
    reports: list[float] = []
    cpu: list[float] = []
    stage = generate_stage(partial(load))

    def runner(*words: Any) -> Iterator[Any]:
        for report in run_on_ray(stage)(*words):
            reports.append(time.monotonic())
            cpu.append(own_cpu_s())
            assert isinstance(report, UnitReport), report
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
        "driver_rss_mib": peak_mib(),
    }
    if made > 1:
        figures["units_per_s"] = (made - 1) / (reports[-1] - reports[0])
        figures["driver_ms_per_unit"] = 1000 * (cpu[-1] - cpu[0]) / (made - 1)
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def _config() -> Config:
    compute = {
        "device": "cpu",
        "gpus_per_worker": 0,
        "min_workers": WORKERS,
        "max_workers": WORKERS,
    }
    return Config.model_validate({"recipe": recipe(), "compute": compute})


def verified(uri: str) -> dict[str, Any]:
    """What reading the whole run again takes."""
    begun = time.monotonic()
    run = open_run(open_store(uri))
    found = verify(run, CHECKS[run.layout.stage])
    problems = len(found.damages) + found.open_units
    seconds = round(time.monotonic() - begun, 1)
    return {"verify_s": seconds, "verify_rss_mib": peak_mib(), "verify_problems": problems}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    verb, *words = sys.argv[1:]
    match verb:
        case "list":
            write_list(Path(words[0]), int(words[1]))
        case "start":
            print(json.dumps(start(*words)))
        case "verify":
            print(json.dumps(verified(*words)))
