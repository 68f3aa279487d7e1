"""What the dataset's verbs take: an export in bytes a second of processor time, other gates, the report.

python benchmarks/dataset.py                     (from the repository's root; 15 minutes, with Chromium)
python benchmarks/dataset.py --only export --mb 300 --dry            (small; prints, writes nothing)
python benchmarks/dataset.py --only selection --triplets 20000 --dry (of 451,990; 1 GB of disk for all)
python benchmarks/dataset.py --server moto       (beside it: to an S3 server; ceph as in ledger.py)
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.dataset_selection import PAPER  # noqa: E402
from benchmarks.dataset_selection import measured as selection  # noqa: E402
from benchmarks.memory import peak_mib  # noqa: E402
from benchmarks.record import machine, replace_results  # noqa: E402
from factory import seeds  # noqa: E402
from factory.export.export import check_shards, export_stage, lay_out  # noqa: E402
from factory.export.prepare import prepare  # noqa: E402
from factory.ledger.plan import write_plan  # noqa: E402
from factory.ledger.run import create_run  # noqa: E402
from factory.ledger.verify.run import verify  # noqa: E402
from factory.pairs.source import Made  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from factory.work.job import run_job  # noqa: E402
from factory.work.plain_loop import run_here  # noqa: E402
from schemas.candidate import Scores  # noqa: E402
from schemas.config import Config  # noqa: E402
from schemas.export import Export, ExportRecipe  # noqa: E402
from tests import making  # noqa: E402
from tests.chaos.servers import s3_server  # noqa: E402
from tests.stub_source import StubSource, recipe, triplets  # noqa: E402

FORMS = ("hf", "webdataset")
"""Whose shards are large; the others store single pictures, and a store's requests are what they take."""
SIDE = 224
"""Of pictures of noise, which take some 150 kB as PNG: 300 kB a row."""
ROW_BYTES = 300_000
PAIRS = 4
"""Of a triplet."""
SHARD_MB = 100
"""Smaller than by default, so that a small run has several."""


class Noise(StubSource):
    """Pictures that nothing packs, all of them accepted."""

    def pairs(self, draws):
        for draw in draws:
            bits = np.random.default_rng(draw.seed)
            before, after = bits.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
            score = float(seeds.noise(draw.seed, "score", (1,))[0]) % 1
            yield Made(draw, before, after, Scores(
                clip_sim_0=score, clip_sim_1=score, clip_sim_dir=score, clip_sim_image=score,
            ), truncated=False)  # fmt: skip


def sealed_run(uri: str, mb: int) -> None:
    """A run of so many megabytes."""
    how = recipe(
        size_px=SIDE,
        candidates=PAIRS,
        keep={"most": PAIRS},
        unit_triplets=4,
        thresholds={"image": -1, "text": -1, "direction": -1},
    )
    run = create_run(open_store(uri), how)
    count = max(12, mb * 1_000_000 // ROW_BYTES // PAIRS)
    plan = write_plan(run, triplets(count), how.unit_triplets)
    config = Config.model_validate({"recipe": how})
    making.run_job(run, plan, config, making.run_here(lambda _: Noise()))


def measured(source: str, to: str, form: str) -> dict[str, float]:
    """One export in this process, read back and checked: bytes, seconds of each kind, memory."""
    config = Export(recipe=ExportRecipe(form=form, shard_mb=SHARD_MB))
    # What any start imports, however much it exports.
    import huggingface_hub.repocard  # noqa: F401

    began, cpu = time.monotonic(), time.process_time()
    run, plan = prepare(config, source, to)
    planned = time.process_time()
    stage = export_stage()
    assert run_job(stage, run, plan, config, run_here(stage)).exit_code == 0
    written, peak = time.process_time(), peak_mib()
    assert verify(run, check_shards, lay_out).damages == []
    ended = time.process_time()
    size = sum(one.bytes for one in run.place.list() if not one.key.startswith("_editmill/"))
    return {
        "bytes": size,
        "planning_s": planned - cpu,
        "writing_s": written - planned,
        "verifying_s": ended - written,
        "cpu_s": ended - cpu,
        "wall_s": time.monotonic() - began,
        "peak_mib": peak,
        "verifying_peak_mib": peak_mib(),
    }


def in_its_own_process(source: str, to: str, form: str) -> dict[str, float]:
    """So that memory and time are this export's."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", source, to, form],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def exports(mb: int, server: str | None) -> dict[str, Any]:
    """Figures of exports of a run, and of one of a quarter of it, whose memory is to be the same."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for part, size in (("small", mb // 4), ("whole", mb)):
            source = f"{folder}/{part}"
            sealed_run(source, size)
            for form in FORMS:
                found = in_its_own_process(source, f"{folder}/{part}-{form}", form)
                name = "export" if form == "hf" else f"export_{form}"
                if part == "small":
                    figures[f"{name}_peak_mib_of_a_quarter"] = round(found["peak_mib"])
                    peak = round(found["verifying_peak_mib"])
                    figures[f"{name}_verifying_peak_mib_of_a_quarter"] = peak
                    continue
                figures |= {
                    f"{name}_mb_per_s": round(found["bytes"] / 1e6 / found["cpu_s"], 1),
                    f"{name}_peak_mib": round(found["peak_mib"]),
                    f"{name}_verifying_peak_mib": round(found["verifying_peak_mib"]),
                    f"{name}_mb": round(found["bytes"] / 1e6),
                    f"{name}_writing_cpu_s": round(found["writing_s"], 2),
                    f"{name}_verifying_cpu_s": round(found["verifying_s"], 2),
                    f"{name}_planning_cpu_s": round(found["planning_s"], 2),
                    f"{name}_wall_s": round(found["wall_s"], 2),
                }
        if server is not None:
            with s3_server(server):
                found = in_its_own_process(f"{folder}/whole", "s3://bucket/to", "hf")
            figures["export_s3_mb_per_s"] = round(found["bytes"] / 1e6 / found["cpu_s"], 1)
            figures["export_s3_server"] = server
    return figures


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("export", "selection"))
    parser.add_argument("--mb", type=int, default=2000, help="of the run that is exported")
    parser.add_argument("--server", default=None)
    parser.add_argument("--triplets", type=int, default=PAPER, help="of a hundred candidates each")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(*asked.one)))
        return
    where = machine()
    for name, measure in {
        "export": lambda: exports(asked.mb, asked.server),
        "selection": lambda: selection(asked.triplets),
    }.items():
        if asked.only not in (None, name):
            continue
        figures = measure()
        print(json.dumps(figures, indent=1))
        if not asked.dry:
            replace_results("dataset", name, figures, where)


if __name__ == "__main__":
    main()
