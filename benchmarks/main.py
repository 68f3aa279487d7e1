"""The main job on the miniature: time, memory, bytes through Ray, exactness.

python benchmarks/main.py        (from the repository's root)
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import ray  # noqa: E402
import torch  # noqa: E402

from benchmarks.on_gpu.engine_rivals import plain_attention  # noqa: E402
from benchmarks.record import machine, write_results  # noqa: E402
from factory.console.config import load_config  # noqa: E402
from factory.engine.checkpoint.load import load_models  # noqa: E402
from factory.models.find import placed_models  # noqa: E402
from factory.models.pin import pin  # noqa: E402
from factory.pairs.generate import prepare  # noqa: E402
from factory.pairs.prompt_to_prompt import PromptToPrompt  # noqa: E402
from factory.pairs.source import draws  # noqa: E402
from factory.pairs.triplets import TripletList, read_triplets  # noqa: E402
from factory.work.reports import UnitReport  # noqa: E402
from tests.factory.engine.family import CAPTIONS, by_reference, draw, sample  # noqa: E402
from tests.factory.engine.reference import Parts  # noqa: E402
from tests.factory.engine.reference_samplers import alphas_cumprod  # noqa: E402
from tests.factory.engine.tiny import SCHEDULER  # noqa: E402
from tests.making import run_job, run_on_ray  # noqa: E402


def demo(folder: Path) -> dict[str, float]:
    """The whole command as a user runs it, after set-up."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "editmill", "demo", "--out", str(folder)], cwd=ROOT, check=True
    )
    seconds = time.monotonic() - started
    status = subprocess.run(
        [sys.executable, "-m", "editmill", "status", str(next(folder.glob("run-*"))), "--json"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    state = json.loads(status.stdout)
    counts = state["counts"]
    return {
        "demo_seconds": round(seconds, 1),
        "demo_candidates": sum(counts.values()),
        "demo_accepted": counts["accepted"],
        "rows_per_accepted": state["rows_per_accepted"],
        "acceptance_by_kind": {
            kind: round(of["accepted"] / sum(of.values()), 3)
            for kind, of in state["by_kind"].items()
        },
    }


def through_ray(folder: Path) -> dict[str, float]:
    """Bytes that a job puts through Ray's object store, small objects included."""
    config = load_config("miniature")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_stats_summary_collection = True
    bundled = read_triplets("miniature").triplets[:12]
    run, plan = prepare(config, TripletList(bundled), str(folder))
    reports: list[UnitReport] = []

    def watched(*arguments):
        for report in run_on_ray(*arguments):
            assert isinstance(report, UnitReport)
            reports.append(report)
            yield report

    run_job(run, plan, config, watched)
    # Blocks of unit numbers in and of reports out, and what the workers are constructed from.
    blocks = sum(
        summary.extra_metrics["bytes_inputs_received"]
        + summary.extra_metrics["bytes_task_outputs_generated"]
        for summary in ray.data.list_stats_summaries()
    )
    constructor = len(ray.cloudpickle.dumps((run, plan, config))) * config.compute.max_workers
    accepted = sum(report.counts["accepted"] for report in reports)
    ray.shutdown()
    return {
        "object_store_bytes_per_pair": round((blocks + constructor) / accepted, 1),
        "object_store_block_bytes": blocks,
        "object_store_constructor_bytes": constructor,
        "worker_peak_rss_mib": round(max(report.peak_rss_mib for report in reports), 1),
    }


def rows_per_s(repeats: int = 5) -> dict[str, float]:
    """UNet rows per second of the miniature's engine on two threads, batch full, scores included;
    and the same as a share of the bare network's at that shape, which takes turns with it.
    """
    config = load_config("miniature", settings=["recipe.steps=10"])
    of = placed_models(pin(config.recipe))
    engine = PromptToPrompt.for_compute(of, config.compute)
    wanted = [d for t in read_triplets("miniature").triplets[:4] for d in draws(of, t)]
    list(engine.pairs(wanted[:8]))
    speeds, shares = [], []
    for _ in range(repeats):
        rows, started = engine.rows_run, time.monotonic()
        list(engine.pairs(wanted))
        speeds.append((engine.rows_run - rows) / (time.monotonic() - started))
        shares.append(speeds[-1] / bare_rows_per_s(engine))
    return {
        "rows_per_s": round(statistics.median(speeds), 1),
        "engine_over_bare_unet": round(statistics.median(shares), 3),
    }


@torch.inference_mode()
def bare_rows_per_s(engine: PromptToPrompt, steps: int = 10) -> float:
    """Of the network alone, with the attention that the library gives it, all else left out."""
    batch = engine.engine.resident.batch
    unet, told = batch.networks.unet, batch.conditioning
    x, timestep = torch.randn_like(batch.x), torch.full((batch.rows,), 500.0)
    torch.set_num_threads(engine.threads)
    with plain_attention(unet):
        unet(x, timestep, told.context)
        started = time.monotonic()
        for _ in range(steps):
            unet(x, timestep, told.context)
        return batch.rows * steps / (time.monotonic() - started)


def fp64_error() -> dict[str, float]:
    """Largest difference of the miniature's latents, as a share of their size, in float64, against
    the slow reference. Trained weights: with random ones guidance amplifies rounding without end."""
    worst = 0.0
    for solver in ("euler_ancestral", "ddim"):
        settings = ["recipe.dtype=float64", "recipe.steps=10", f"recipe.solver={solver}"]
        of = placed_models(pin(load_config("miniature", settings=settings).recipe))
        chosen = [draw(CAPTIONS[i % 4], i + 1, p=0.3 * i, guidance=1.0 + 4 * i) for i in range(4)]
        made = sample(of, chosen, pairs=3, apart=1)
        models = load_models(of, torch.device("cpu"))
        parts = Parts(
            unet=models.unet,
            vae=models.autoencoder.network,
            text_encoder=models.text.encoder,
            tokenizer=models.text.tokenizer,
            alphas_cumprod=alphas_cumprod(SCHEDULER),
            prediction_type=models.schedule.prediction,
        )
        for candidate in chosen:
            wanted = torch.stack(list(by_reference(parts, candidate, of)))
            difference = (made[candidate.seed] - wanted).abs().max() / wanted.abs().max()
            worst = max(worst, float(difference))
    return {"fp64_max_error": worst}


def main() -> None:
    where = machine()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = demo(folder / "demo")
        figures |= through_ray(folder / "ray")
        figures |= rows_per_s()
        figures |= fp64_error()
    print(write_results("main", figures, where))


if __name__ == "__main__":
    main()
