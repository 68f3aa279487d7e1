"""A job on a cluster: how well a pilot tells it, and what a pool makes of nodes that come and go.

python benchmarks/cluster.py                      (from the repository's root; all of it takes hours)
python benchmarks/cluster.py --only forecast      (or trace: these figures alone; the other results stay)
python benchmarks/cluster.py --only scaled        (4 minutes; a real Ray that scales)
python benchmarks/cluster.py --only goodput       (20 minutes; a real Ray whose nodes are taken away)
python benchmarks/cluster.py --only s3            (10 minutes; 5,000 units on a real S3 server)
python benchmarks/cluster.py --only long_451990_captions --work DIR      (two hours; a run in DIR)
python benchmarks/cluster.py --only edit_scaled   (a pool of four nodes that edits; some four minutes)
python benchmarks/cluster.py --only forecast --run RUN    (of another run, of 80 triplets at least)
python benchmarks/cluster.py --keep RUN           (writes the table of a run that `forecast` reads else)
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.on_cluster import goodput, growth, scale  # noqa: E402
from benchmarks.record import machine, replace_results  # noqa: E402
from cluster.forecast.acceptance import STATED, Range, rest_of  # noqa: E402
from cluster.forecast.forecast import Forecast, Gpu, Workforce, forecast  # noqa: E402
from cluster.forecast.pilot import Pilot, read_pilot  # noqa: E402
from cluster.forecast.simulation import Life, limit_s, lives_of, simulate  # noqa: E402
from factory.console.config import load_config  # noqa: E402
from tests.cluster import autoscaling  # noqa: E402

TRACES = ROOT / "benchmarks" / "traces"
TABLE = TRACES / "miniature_400.json"
"""A run of 400 triplets on the miniature, as `--keep` writes it."""
LONG = (4_000, 40_000, 451_990)
"""Captions of the runs that a stub makes, four a unit; the last are the paper's."""
PILOTS = 200
MANY = 2000
"""As well, since of 200 a right interval holds 86 to 94 % by chance alone."""
PILOT = 40
"""Triplets of a pilot."""
NODES = 4
"""Of a pool that scales."""

START_UP_S = 180.0
NOTICE_S = 120.0
"""AWS tells two minutes before."""
UNITS_S = (10, 30, 60, 120, 180, 240, 300, 600, 1200, 2400)
SPREAD = 0.1
"""Of the seconds that units take; without it they would end in step with the trace's points."""
ROUNDS = 10
ROWS_PER_S = 390.0
"""Of Stable Diffusion 1.5 at 512 px on an H100, as predicted in docs/gpu.md; it was never measured."""


def coverage(run: str | None) -> dict[str, Any]:
    """How often a pilot's interval holds what came of the rest, and one pilot beside it in full."""
    whole = read_pilot(run, workers=1) if run else kept()
    rng = np.random.default_rng(0)
    held: dict[str, list[bool]] = {"": [], "_with_a_pair": []}
    outcomes = np.array(whole.kept)
    for _ in range(MANY):
        order = rng.permutation(whole.triplets)
        pilot, rest = outcomes[order[:PILOT]], outcomes[order[PILOT:]]
        found = rest_of(pilot.tolist(), whole.most, len(rest))
        held[""].append(Range.of(found.pairs).holds(rest.sum()))
        held["_with_a_pair"].append(Range.of(found.with_pairs).holds((rest > 0).sum()))
    units = len(whole.unit_s)
    each = PILOT // whole.unit_triplets
    times = [time_held(whole, rng.permutation(units)[:each].tolist()) for _ in range(PILOTS)]
    shown = of_units(whole, range(each))
    first, took = ahead(shown, whole), sum(whole.unit_s[each:])
    real = sum(whole.kept[PILOT:]) / ((whole.triplets - PILOT) * whole.candidates)
    return {
        "forecast_coverage": share(held[""][:PILOTS]),
        "forecast_coverage_with_a_pair": share(held["_with_a_pair"][:PILOTS]),
        f"forecast_coverage_of_{MANY}": share(held[""]),
        f"forecast_coverage_with_a_pair_of_{MANY}": share(held["_with_a_pair"]),
        "forecast_stated": STATED,
        "forecast_pilots": PILOTS,
        "forecast_triplets": whole.triplets,
        "forecast_candidates": whole.candidates,
        "forecast_first_pilot_share": ends(first.total.share) | {"real": round(real, 4)},
        "forecast_first_pilot_seconds": ends(first.spendings[0].hours.times(3600))
        | {"real": round(took, 1)},
        "forecast_time_coverage": share(times),
        "forecast_unit_seconds": {
            "least": round(min(whole.unit_s), 1),
            "middle": round(float(np.median(whole.unit_s)), 1),
            "longest": round(max(whole.unit_s), 1),
        },
    }


def share(held: Sequence[bool]) -> float:
    return round(mean(map(int, held)), 4)


def of_units(whole: Pilot, units: Sequence[int]) -> Pilot:
    """A pilot of some of a run's units."""
    each = whole.unit_triplets
    chosen = [number for unit in units for number in range(unit * each, (unit + 1) * each)]
    return replace(
        whole,
        kinds=tuple(whole.kinds[number] for number in chosen),
        kept=tuple(whole.kept[number] for number in chosen),
        unit_s=tuple(whole.unit_s[unit] for unit in units),
    )


def ahead(pilot: Pilot, whole: Pilot) -> Forecast:
    """What a pilot tells of the rest of its run, made by one worker; start-up not counted."""
    return forecast(pilot, whole.triplets, Workforce(workers=1, start_up_s=0), [Gpu("one")])


def time_held(whole: Pilot, units: Sequence[int]) -> bool:
    """Whether a pilot of these units tells what the others took."""
    pilot = of_units(whole, units)
    took = sum(whole.unit_s) - sum(pilot.unit_s)
    return ahead(pilot, whole).spendings[0].hours.holds(took / 3600)


def ends(one: Range) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(one).items()}


def kept() -> Pilot:
    """The run of 400, from its table."""
    fields = json.loads(TABLE.read_text())
    lists = {name: tuple(fields[name]) for name in ("kinds", "kept", "unit_s")}
    return Pilot(**fields | lists)


def keep(run: str) -> None:
    """Write the table of the first 400 triplets of a run, made by one worker."""
    whole = read_pilot(run, workers=1)
    first = of_units(whole, range(400 // whole.unit_triplets))
    table = asdict(replace(first, uri="miniature"))
    table["unit_s"] = [round(seconds, 2) for seconds in first.unit_s]
    TABLE.write_text(json.dumps(table) + "\n")


def trace() -> dict[str, Any]:
    """Committed unit-seconds on a trace of spot nodes, over the most that any scheduler could commit there.

    That is all seconds in which the trace has nodes, but for a cold start whenever one begins: no scheduler
    that needs so long to start makes more of them, whatever it knows of the future. The seconds after a
    notice are among them, since it could work to the last one.
    """
    recorded = json.loads((TRACES / "spot_v100_4_nodes.json").read_text())
    step_s = recorded["metadata"]["gap_seconds"]
    lives = lives_of(recorded["data"], step_s, NOTICE_S)
    reached = partial(over_limit, lives)
    by_unit = {str(unit_s): reached(unit_s) for unit_s in UNITS_S}
    node_h = sum(recorded["data"]) * step_s / 3600
    limit_h = limit_s(lives, START_UP_S) / 3600
    presets = {name: unit_seconds(name) for name in ("fast", "paper")}
    return {
        "trace_over_limit": reached(presets["fast"]),
        "trace_over_node_hours": round(reached(presets["fast"]) * limit_h / node_h, 4),
        "trace_over_limit_paper": reached(presets["paper"]),
        "trace_over_limit_paper_one_triplet_a_unit": reached(unit_seconds("paper", 1)),
        "trace_unit_seconds": {name: round(seconds, 1) for name, seconds in presets.items()},
        "trace_over_limit_by_unit_seconds": by_unit,
        "trace_over_limit_one_unit_in_hand": {
            str(unit_s): reached(unit_s, calls=1) for unit_s in UNITS_S
        },
        "trace_over_limit_by_start_up": {
            str(start_up_s): reached(60, start_up_s=start_up_s)
            for start_up_s in (30.0, 180.0, 600.0)
        },
        "trace_over_limit_without_notice": over_limit(
            lives_of(recorded["data"], step_s, 0.0), presets["fast"]
        ),
        "trace_start_up_s": START_UP_S,
        "trace_notice_s": NOTICE_S,
        "trace_node_hours": round(node_h, 2),
        "trace_limit_hours": round(limit_h, 2),
        "trace_nodes_begun": len(lives),
    }


def over_limit(
    lives: Sequence[Life], unit_s: float, calls: int = 2, start_up_s: float = START_UP_S
) -> float:
    """The mean of several replays with units of some `unit_s` seconds, each of its own length."""
    limit = limit_s(lives, start_up_s)
    shares = []
    for seed in range(ROUNDS):
        rng = np.random.default_rng(seed)
        count = int(2 * limit / unit_s) + 10
        work = (unit_s * rng.lognormal(-(SPREAD**2) / 2, SPREAD, count)).tolist()
        found = simulate(work, [[life] for life in lives], start_up_s, calls)
        shares.append(found.committed_s / limit)
    return round(mean(shares), 4)


def unit_seconds(preset: str, triplets: int | None = None) -> float:
    """What a unit of a preset takes, of its own size or another."""
    recipe = load_config(preset).recipe
    rows = (triplets or recipe.unit_triplets) * recipe.candidates * recipe.steps * 4
    return rows / ROWS_PER_S


def scaled(work: Path) -> dict[str, Any]:
    """The main job on a cluster without a GPU node, one of those that come being killed."""
    trial = autoscaling.job(NODES, autoscaling.generating(work / "run", 100, NODES), kill_at=3)
    return {"autoscaled_to": trial.most, "scaled_back": trial.left == 0} | watched(trial, "scaled")


def edit_scaled(work: Path) -> dict[str, Any]:
    """The same of bulk edits."""
    pictures = work / "pictures"
    autoscaling.draw(pictures, 120)
    verb = autoscaling.editing(pictures, work / "edits", NODES)
    trial = autoscaling.job(NODES, verb, kill_at=3)
    made = len(list((work / "edits").glob("*.png")))
    found = {"edit_scaled_to": trial.most, "edit_scaled_back": trial.left == 0}
    return found | watched(trial, "edit_scaled") | {"edit_scaled_pictures": made}


def watched(trial: autoscaling.Trial, prefix: str) -> dict[str, Any]:
    """How many nodes there were, and when; nodes leave while the job still runs, too."""
    return {
        f"{prefix}_from": trial.first,
        f"{prefix}_back_s": round(trial.back_s, 1),
        f"{prefix}_nodes_killed": trial.killed,
        f"{prefix}_exit_code": trial.code,
        f"{prefix}_seen": trial.seen,
        f"{prefix}_ended_at": round(trial.ended_at, 1),
    }


def long_run(work: Path, captions: int) -> dict[str, Any]:
    """So many captions, made by a stub; of the paper's number the figures that the design names, too."""
    found = scale.in_folder(work, captions)
    figures: dict[str, Any] = {name_of(captions): found}
    if captions == LONG[-1]:
        figures |= {
            "captions": captions,
            "driver_ms_per_unit": found["whole"]["driver_ms_per_unit"],
            "driver_rss_mib": found["whole"]["driver_rss_mib"],
            "resume_at_99_s": found["resume_at_99_s"],
        }
    return figures


def name_of(captions: int) -> str:
    return f"long_{captions}_captions"


def _long(given: argparse.Namespace, captions: int) -> dict[str, Any]:
    return long_run(work_of(given), captions)


def work_of(given: argparse.Namespace) -> Path:
    """Where runs go."""
    work: Path = given.work or Path(tempfile.mkdtemp(prefix="editmill-cluster-"))
    work.mkdir(parents=True, exist_ok=True)
    return work


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", help="for `forecast`, in place of the table that is kept")
    parser.add_argument("--keep", metavar="RUN", help="write that table, and nothing else")
    parser.add_argument("--dry", action="store_true", help="write no result")
    figures: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "forecast": lambda given: coverage(given.run),
        "trace": lambda given: trace(),
        "goodput": lambda given: goodput.measured(work_of(given) / "goodput"),
        "scaled": lambda given: scaled(work_of(given)),
        "edit_scaled": lambda given: edit_scaled(work_of(given)),
        "s3": lambda given: scale.on_s3(work_of(given)),
        **{name_of(size): partial(_long, captions=size) for size in LONG},
        "long_model": lambda given: {"long_model": growth.model(growth.recorded())},
    }
    """By the prefix of their names."""
    parser.add_argument("--only", choices=figures)
    parser.add_argument("--work", type=Path, help="a folder for runs; some 15 GB for the longest")
    given = parser.parse_args()
    if given.keep:
        keep(given.keep)
        return
    where = machine()
    for prefix, measure in figures.items():
        if given.only in (None, prefix):
            found = measure(given)
            print(json.dumps(found, indent=1))
            if not given.dry:
                replace_results("cluster", prefix, found, where)


if __name__ == "__main__":
    main()
