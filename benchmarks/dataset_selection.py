"""How fast other gates are counted over a run's scores, and how fast its report answers.

Figures of `benchmarks/dataset.py`, whose option `--only selection` measures these alone.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.memory import ended  # noqa: E402
from factory.ledger import keys  # noqa: E402
from factory.ledger.plan import Plan, write_plan  # noqa: E402
from factory.ledger.run import Run, create_run, open_run  # noqa: E402
from factory.ledger.seal import manifest_part  # noqa: E402
from factory.ledger.units.attempts import find_commit, line_of  # noqa: E402
from factory.pairs.scores import COLUMNS, GROUP_ROWS, SIMILARITIES, UNIT, lay_scores  # noqa: E402
from factory.pairs.source import Made  # noqa: E402
from factory.storage.local import LocalStore  # noqa: E402
from schemas.arrow import arrow_schema, columns_of, write_table  # noqa: E402
from schemas.candidate import Candidate, Scores  # noqa: E402
from schemas.canonical import canonical_json  # noqa: E402
from schemas.config import Config  # noqa: E402
from schemas.ledger.commit import Manifest, Part, UnitLine  # noqa: E402
from schemas.ledger.layout import GENERATE, to_stored  # noqa: E402
from tests.factory.report.browser import ABSENT, browsing  # noqa: E402
from tests.making import generate_unit, run_here, run_job  # noqa: E402
from tests.stub_source import StubSource, recipe, triplets  # noqa: E402

PAPER = 451_990
"""Triplets, a hundred candidates each."""
GATES = {"image": 0.7, "text": 0.2, "direction": 0.2}
SIZE_PX = 256


def paper_like(**fields: Any) -> Any:
    """The paper's numbers over the stub."""
    return recipe(
        **{"candidates": 100, "unit_triplets": 4, "keep": {"most": 4}, "thresholds": GATES} | fields
    )


class Photographs(StubSource):
    """Scores that lie as CLIP's do, and pictures that compress as photographs."""

    def __init__(self) -> None:
        super().__init__()
        lot = np.random.default_rng(0)
        coarse = lot.integers(0, 255, (SIZE_PX // 16, SIZE_PX // 16, 3))
        noise = lot.normal(0, 4, (SIZE_PX, SIZE_PX, 3))
        self.picture = (coarse.repeat(16, 0).repeat(16, 1) + noise).clip(0, 255).astype(np.uint8)

    def pairs(self, draws: Any) -> Any:
        for draw in draws:
            row = drawn(np.random.default_rng(draw.seed), 1)[:, 0].tolist()
            scores = Scores(**dict(zip(SIMILARITIES, row, strict=True)))
            yield Made(draw, self.picture, self.picture, scores, truncated=False)


def drawn(lot: np.random.Generator, count: int) -> np.ndarray:
    """(4, count), 32-bit floats as the engine's: some 3 % pass all gates."""
    means, spreads = (0.24, 0.24, 0.10, 0.78), (0.03, 0.03, 0.08, 0.12)
    columns = [lot.normal(m, s, count) for m, s in zip(means, spreads, strict=True)]
    return np.stack(columns).clip(-1, 1).astype(np.float32).astype(np.float64)


# ---- counting anew ----


def make_scores(folder: Path, count: int) -> tuple[Run, Plan]:
    """A sealed run as `select --dry-run` reads one: plan, manifest, scores; of commits the first alone."""
    run = create_run(LocalStore(folder), paper_like())
    plan = write_plan(run, triplets(count), run.recipe.unit_triplets)
    generate_unit(run, plan, 0, StubSource())
    first = line_of(run, find_commit(run, plan, 0)).content
    kinds = {UNIT: "int"} | {name: columns_of(Candidate)[name] for name in COLUMNS}
    schema, parts, lot = arrow_schema(kinds), [], np.random.default_rng(0)
    each, accepted = run.recipe.candidates, 0
    for segment in range(keys.segment_of(plan.units[-1]) + 1):
        units = [unit for unit in keys.segment_units(segment) if unit in plan.units]
        others = [
            UnitLine(
                unit=unit,
                outcomes_sha256=f"{unit:064x}",
                counts={"accepted": 0, "rejected": plan.size(unit) * each, "failed": 0},
                data_key=None,
                data_sha256=None,
                data_bytes=None,
            )
            for unit in units
            if unit
        ]
        part, data = manifest_part(run, segment, [first, *others] if not segment else others)
        run.store.put(part.key, data)
        parts.append(part)
        run.store.put(keys.scores(part.key), scores_of_units(plan, units, each, schema, part, lot))
    counts = {"accepted": accepted, "rejected": count * each, "failed": 0}
    manifest = Manifest(
        recipe_hash=run.recipe_hash,
        plan_digest=plan.record.digest,
        partial=False,
        units=len(plan.units),
        items=count,
        counts=counts,
        parts=tuple(parts),
    )
    run.store.put(keys.manifest(0), canonical_json(to_stored(GENERATE, manifest)))
    return run, plan


def scores_of_units(
    plan: Plan, units: Sequence[int], each: int, schema: pa.Schema, part: Part, lot: Any
) -> bytes:
    sizes = [plan.size(unit) for unit in units]
    rows = sum(sizes) * each
    names = [f"{lot.integers(2**63):016x}" for _ in range(sum(sizes))]
    values = drawn(lot, rows)
    passes = (values >= np.array([0.2, 0.2, 0.2, 0.7])[:, None]).all(axis=0)
    columns = {
        UNIT: np.repeat(units, np.array(sizes) * each),
        "triplet_id": pa.array(names).take(pa.array(np.repeat(np.arange(len(names)), each))),
        "index": np.tile(np.arange(each), len(names)),
        **dict(zip(SIMILARITIES, values, strict=True)),
        "verdict": pa.array(["rejected", "accepted"]).take(pa.array(passes.astype(np.int8))),
        "reason": pa.array(["clip_sim_dir", None]).take(pa.array(passes.astype(np.int8))),
        "truncated": np.zeros(rows, bool),
    }
    return write_table(
        pa.table(columns).cast(schema),
        {"part": part.key},
        GROUP_ROWS,
        use_dictionary=[UNIT, "triplet_id", "index", "verdict", "reason"],
        use_byte_stream_split=list(SIMILARITIES),
    )


def reselect(folder: Path, count: int) -> dict[str, Any]:
    """The command itself, in a process of its own: interpreter, imports and the plan's kinds included."""
    with patch("factory.storage.local.os.fsync", lambda descriptor: None):
        make_scores(folder, count)
    words = ["--set", "recipe.thresholds.direction=0.15", "--set", "recipe.keep.most=3"]
    run = [sys.executable, "-m", "editmill", "select", str(folder), *words, "--dry-run", "--json"]
    began = time.monotonic()
    process = subprocess.Popen(
        run,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, used, peak = ended(process)
    seconds = time.monotonic() - began
    said, complained = process.communicate()
    if code:
        raise SystemExit(complained.decode())
    told = json.loads(said)
    size = sum(path.stat().st_size for path in (folder / "scores").iterdir())
    name = "reselect_45m" if count == PAPER else "reselect"
    return {
        "reselect_candidates": told["candidates"],
        "reselect_pairs": told["pairs"],
        f"{name}_s": round(seconds, 1),
        f"{name}_cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "reselect_peak_mib": round(peak),
        "scores_bytes_per_candidate": round(size / told["candidates"], 2),
    }


# ---- the report ----


def report(folder: Path, count: int) -> dict[str, Any]:
    """A run of so many triplets, laid down, reported and looked at."""
    run = create_run(
        LocalStore(folder / "run"), paper_like(codec={"format": "jpeg", "quality": 95})
    )
    plan = write_plan(run, triplets(count), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    with patch("factory.storage.local.os.fsync", lambda descriptor: None):
        result = run_job(run, plan, config, run_here(lambda _: Photographs()))
    assert result.sealed
    for path in (folder / "run" / "scores").iterdir():
        path.unlink()
    began = time.monotonic()
    lay_scores(run, plan, result.sealed)
    laid = time.monotonic() - began
    began = time.monotonic()
    words = ["report", str(folder / "run"), "--out", str(folder), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "editmill", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout)
    candidates = told["left"]["candidates"]
    found = {
        "lay_scores_us_per_candidate": round(1e6 * laid / candidates, 2),
        "report_candidates": candidates,
        "report_made_s": round(time.monotonic() - began, 1),
        "report_mb": round(told["bytes"] / 1e6, 1),
    }
    return found | (looked_at(Path(told["page"]), folder) if not ABSENT else {"browser": ABSENT})


OPENED = """
const done = arguments[0];
requestAnimationFrame(() => setTimeout(() => done(performance.now())));
"""
"""Since the navigation began, once a frame with the numbers and the gallery was drawn."""
SLID = """
const [values, done] = arguments, took = [];
const slider = document.getElementById("gate-direction");
const next = () => {
  if (!values.length) return done(took);
  slider.value = values.shift();
  const began = performance.now();
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  // After the frame that shows it.
  requestAnimationFrame(() => setTimeout(() => { took.push(performance.now() - began); next(); }));
};
next();
"""


def looked_at(page: Path, folder: Path) -> dict[str, Any]:
    """In Chromium, on the second of two openings: the first one starts the browser's own processes."""
    lot = random.Random(0)
    with browsing(folder / "profile") as browser:
        browser.look(1280, 900)
        opened, slid = [], []
        for _ in range(4):
            browser.open(page)
            opened.append(browser.run_later(OPENED) / 1000)
        values = [round(lot.uniform(0, 0.3), 3) for _ in range(60)]
        slid = browser.run_later(SLID, values)
    return {
        "report_open_s": round(statistics.median(opened[1:]), 2),
        "report_open_first_s": round(opened[0], 2),
        "slider_ms": round(statistics.median(slid), 1),
        "slider_worst_ms": round(max(slid), 1),
    }


# ---- what is made again ----


def remade(folder: Path, limit: int) -> dict[str, Any]:
    """Whether a selection by the miniature's engine is, to the byte, what `generate` makes by its gates."""
    gates = ["--set", "recipe.thresholds.direction=0.7", "--set", "recipe.thresholds.text=0.65"]

    def ran(*words: str) -> dict[str, Any]:
        run = [sys.executable, "-m", "editmill", *words, "--json"]
        done = subprocess.run(
            run,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    some = ["--preset", "miniature", "--triplets", str(folder / "some.jsonl")]
    some += ["--set", "compute.where=here"]
    lines = (ROOT / "factory/miniature/triplets.jsonl").read_text().splitlines()[:limit]
    folder.mkdir()
    (folder / "some.jsonl").write_text("\n".join(lines) + "\n")
    ran("generate", *some, "--out", str(folder / "run"))
    fresh = ran("generate", *some, *gates, "--out", str(folder / "fresh"))
    counted = ran("select", str(folder / "run"), *gates, "--dry-run")
    ours = ran("select", str(folder / "run"), *gates, "--name", "other")
    assert open_run(str(folder / "run" / "selections" / "other")).recipe_hash
    return {
        "remade_pairs": counted["remade"],
        "remade_bitwise": ours["sealed"]["manifest_hash"] == fresh["sealed"]["manifest_hash"],
    }


def measured(triplets: int, report_triplets: int = 1000, limit: int = 6) -> dict[str, Any]:
    """All figures; `limit` is how many triplets the miniature makes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = reselect(folder / "scores", triplets)
        (folder / "report").mkdir()
        found |= report(folder / "report", report_triplets)
        return found | remade(folder / "remade", limit)
