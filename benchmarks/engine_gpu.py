"""The engine on a GPU: rows a second, beside the bare network, the original's algorithm and diffusers.

python benchmarks/engine_gpu.py              (from the repository's root; a CUDA device, 8 minutes at most)
python benchmarks/engine_gpu.py --tiny       (the same measures with a small model, on a CPU too; no result)
python benchmarks/engine_gpu.py --seconds 240 --out DIR

Stable Diffusion 1.5 and CLIP ViT-L/14 with random weights, 512 px, bfloat16, 25 steps (the preset `fast`),
by the engine that `generate` uses: from draws to pictures and scores. A row is one forward of the UNet; a
pair costs four a step. Needs no Ray; docs/gpu.md names the few packages, and what every figure means.

Each measure stands by itself: one that fails is named with its error, those that the time did not suffice
for are named too, and DIR/engine_gpu.json is written anew after every one. At full size all of it goes to
benchmarks/results/engine_gpu.json at the end. Written where there is no GPU, and not run on one so far.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch  # noqa: E402

from benchmarks.on_gpu import engine_rivals  # noqa: E402
from benchmarks.on_gpu.device_time import Memory  # noqa: E402
from benchmarks.on_gpu.engine_model import (  # noqa: E402
    FULL,
    TINY,
    Size,
    build_unet,
    recipe,
    tflop_per_row,
    write_model,
)
from benchmarks.on_gpu.engine_rounds import (  # noqa: E402
    bitwise,
    decoding,
    denoising,
    engine_rows,
    idle,
)
from benchmarks.on_gpu.matmul import matmul_rate  # noqa: E402
from benchmarks.on_gpu.stages import Figures, Stage, Stages  # noqa: E402
from benchmarks.record import machine, recorded, write_results  # noqa: E402
from factory.engine.device import torch_device  # noqa: E402
from factory.pairs.prompt_to_prompt import PromptToPrompt  # noqa: E402

NAME = "engine_gpu"
SECONDS = 480.0
"""Of a whole run, to its last line."""
RESERVE_S = 10.0
"""Before the end, for what a child leaves to do."""
GRACE_S = 5.0
"""After the measures' time, before one that hangs is ended by force; and as long to clean up after it."""


class Benchmark:
    """The measures, in the order in which they are worth their time; `model` serves those after it."""

    def __init__(self, size: Size, device: torch.device, folder: Path, out: Path) -> None:
        self.size = size
        self.device = device
        self.folder = folder
        """Where the model lies."""
        self.out = out
        self.left: Callable[[], float] = lambda: float("inf")
        self._engine: PromptToPrompt | None = None

    def stages(self) -> list[Stage]:
        """All measures. The seconds are what each takes on an H100 as predicted, not measured."""
        full = self.size is FULL
        sizes = [
            Stage(f"batch of {n}", partial(self.other_size, n), n * full)
            for n in self.size.other_pairs
        ]
        return [
            Stage("matmul", self.matmul, 5 * full),
            Stage("bare unet", self.bare_unet, 15 * full),
            Stage("model", self.model, 40 * full),
            Stage("engine", self.engine, 30 * full),
            Stage("bitwise", self.bitwise, 15 * full),
            Stage("denoising", self.denoising, 10 * full),
            Stage("decoding", self.decoding, 5 * full),
            Stage("idle", self.idle, 40 * full),
            Stage("original", self.original, 10 * full),
            Stage("diffusers", self.diffusers, 20 * full),
            Stage("diffusers, one pair", self.diffusers_one_pair, 10 * full),
            Stage("diffusers, channels last", self.diffusers_channels_last, 20 * full),
            *sizes,
            # Compiling cannot be broken off from inside: in a process of its own.
            Stage("diffusers, compiled", self.in_child, 100 if full else 30),
        ]

    def compiled_stages(self) -> list[Stage]:
        """What the child does with the model that its parent wrote."""
        compiled = Stage("diffusers, compiled", self.diffusers_compiled)
        return [Stage("model", self.load), compiled]

    @property
    def ready(self) -> PromptToPrompt:
        """The engine. Raises `RuntimeError` where the stage `model` failed."""
        if self._engine is None:
            raise RuntimeError("there is no engine, because the stage `model` failed")
        return self._engine

    def matmul(self) -> Figures:
        rate = matmul_rate(self.device, self.size.matrix)
        return {
            "matmul_tflops": round(rate / 1e12, 4),
            "tflop_per_row": round(tflop_per_row(self.size), 6),
        }

    def bare_unet(self) -> Figures:
        """Of a network of its own, so that it is known whatever becomes of the engine."""
        unet = build_unet(self.size, self.device)
        words = self.size.text_fields
        found = {}
        with engine_rivals.plain_attention(unet):
            for name, last in (("bare_unet", False), ("bare_unet_channels_last", True)):
                with engine_rivals.memory_format(unet, last):
                    rate = engine_rivals.bare_unet(
                        unet,
                        self.size,
                        self.device,
                        self.left,
                        words["hidden_size"],
                        words["max_position_embeddings"],
                    )
                found[f"{name}_rows_per_s"] = round(rate, 2)
        return found

    def model(self) -> Figures:
        """Write the model, then what every worker does: hash its files, load it, start the engine."""
        write_model(self.folder, self.size, self.device)
        return self.load()

    def load(self) -> Figures:
        self._engine = PromptToPrompt(
            recipe(self.folder, self.size),
            device=str(self.device),
            batch_pairs=self.size.pairs,
            decode_pairs=self.size.decode_pairs,
            threads=2 if self.device.type == "cuda" else 1,
        )
        return {
            "pairs": self.size.pairs,
            "steps": self._engine.recipe.steps,
            "size_px": self.size.size_px,
            "dtype": self._engine.recipe.dtype,
        }

    def engine(self) -> Figures:
        found = engine_rows(self.ready, self.size, self.size.pairs, self.left)
        return found | {"rows_per_s_by_pairs": {str(self.size.pairs): found["rows_per_s"]}}

    def other_size(self, pairs: int) -> Figures:
        found = engine_rows(self.ready, self.size, pairs, self.left, least=2)
        return {"rows_per_s_by_pairs": {str(pairs): found["rows_per_s"]}}

    def bitwise(self) -> Figures:
        return bitwise(self.ready, self.size)

    def denoising(self) -> Figures:
        return denoising(self.ready, self.size, self.left)

    def decoding(self) -> Figures:
        return decoding(self.ready, self.size, self.left)

    def idle(self) -> Figures:
        return idle(self.ready, self.size)

    def original(self) -> Figures:
        return engine_rivals.original(self.ready, self.size, self.left)

    def diffusers(self) -> Figures:
        return self._diffusers("diffusers", self.size.pairs)

    def diffusers_one_pair(self) -> Figures:
        return self._diffusers("diffusers_one_pair", 1)

    def diffusers_channels_last(self) -> Figures:
        return self._diffusers("diffusers_channels_last", self.size.pairs, channels_last=True)

    def diffusers_compiled(self) -> Figures:
        return self._diffusers(
            "diffusers_compiled", self.size.pairs, channels_last=True, compiled=True
        )

    def _diffusers(self, name: str, pairs: int, **how: bool) -> Figures:
        found = engine_rivals.diffusers_loop(self.ready, self.size, pairs, self.left, **how)
        return {f"{name}_{key}": value for key, value in found.items()}

    def in_child(self) -> Figures:
        """`diffusers_compiled` with a limit of its own. Raises `RuntimeError` with the child's error."""
        self.ready  # noqa: B018  a model that was not written cannot be loaded
        limit, out = self.left() - RESERVE_S, self.out / "compiled"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, __file__, "--compiled", str(self.folder), "--out", str(out)]
        command += ["--seconds", f"{limit:.0f}", *(["--tiny"] if self.size is TINY else [])]
        child = subprocess.Popen(command, start_new_session=True)
        try:
            code = child.wait(limit + GRACE_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"compiling did not end within {limit:.0f} s") from None
        finally:
            if child.poll() is None:
                # With the compiler's own workers, which are in its group.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        file = out / f"{NAME}.json"
        found = json.loads(file.read_text()) if file.exists() else {"figures": {}, "failed": {}}
        for error in found["failed"].values():
            raise RuntimeError(error)
        figures = {k: v for k, v in found["figures"].items() if k.startswith("diffusers_compiled")}
        if not figures:
            raise RuntimeError(f"the process that compiles ended with code {code} and no figure")
        peak = found["stages"]["diffusers, compiled"]
        return figures | {f"diffusers_compiled_{k}": v for k, v in peak.items() if k != "seconds"}


def ratios(figures: Figures) -> dict[str, float]:
    """What follows from the figures that are there."""
    rows = figures.get("rows_per_s")
    found: dict[str, float] = {}
    if rows is None:
        return found

    def over(name: str, other: str, own: float = rows) -> None:
        if other in figures:
            found[name] = round(own / figures[other], 4)

    if "matmul_tflops" in figures:
        rate = figures["matmul_tflops"] / figures["tflop_per_row"]
        found["matmul_share"] = round(rows / rate, 4)
        if "bare_unet_rows_per_s" in figures:
            found["bare_unet_matmul_share"] = round(figures["bare_unet_rows_per_s"] / rate, 4)
    over("engine_over_bare_unet_gpu", "bare_unet_rows_per_s")
    over("over_reference", "original_rows_per_s")
    for name in (
        "diffusers",
        "diffusers_one_pair",
        "diffusers_channels_last",
        "diffusers_compiled",
    ):
        over(f"over_{name}", f"{name}_rows_per_s")
    if "denoising_rows_per_s" in figures:
        denoising_rate = figures["denoising_rows_per_s"]
        over("denoising_over_bare_unet_gpu", "bare_unet_rows_per_s", denoising_rate)
    return found


def concluded(found: dict[str, Any]) -> dict[str, Any]:
    """What was found with the ratios, and the engine's peak memory, among its figures."""
    peak = {k: v for k, v in found["stages"].get("engine", {}).items() if k.startswith("peak")}
    return found | {"figures": {**found["figures"], **peak, **ratios(found["figures"])}}


def where(device: torch.device) -> dict[str, Any]:
    """`machine()` with the GPU."""
    place = machine()
    if device.type == "cuda":
        seen = torch.cuda.get_device_properties(device)
        place |= {
            "gpu": seen.name,
            "gpu_memory_gib": round(seen.total_memory / 2**30, 1),
            "compute_capability": f"{seen.major}.{seen.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return place


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole run")
    parser.add_argument("--tiny", action="store_true", help="a small model, on a CPU if need be")
    parser.add_argument(
        "--out", type=Path, default=Path("runs") / NAME, help="folder for what is known so far"
    )
    parser.add_argument("--compiled", type=Path, help=argparse.SUPPRESS)  # the child's model
    return parser.parse_args()


def main() -> int:
    """0 where every measure gave its figures, 3 where some are missing, 4 where one had to be ended."""
    given = arguments()
    device = torch_device("auto")
    if device.type != "cuda" and not given.tiny:
        raise SystemExit("engine_gpu: needs a CUDA device, got none; --tiny runs on a CPU")
    place = where(device)
    given.out.mkdir(parents=True, exist_ok=True)

    def keep(found: dict[str, Any]) -> None:
        (given.out / f"{NAME}.json").write_text(json.dumps(concluded(found), indent=1) + "\n")

    seconds = given.seconds - (time.monotonic() - STARTED)
    stages = Stages(seconds - 2 * GRACE_S, keep, Memory(device))
    folder = given.compiled or Path(tempfile.mkdtemp(prefix="editmill-"))
    benchmark = Benchmark(TINY if given.tiny else FULL, device, folder, given.out)
    benchmark.left = stages.left

    def clean() -> None:
        if not given.compiled:
            shutil.rmtree(folder, ignore_errors=True)

    def finish() -> None:
        clean()
        if not given.compiled:
            report(concluded(stages.found), place, given)

    watchdog = threading.Timer(seconds - GRACE_S, stages.end_by_force, (finish,))
    watchdog.daemon = True
    watchdog.start()
    try:
        stages.run(benchmark.compiled_stages() if given.compiled else benchmark.stages())
    finally:
        watchdog.cancel()
        clean()
    finish()
    return 3 if stages.found["failed"] or stages.found["not_reached"] else 0


def report(found: dict[str, Any], place: dict[str, Any], given: argparse.Namespace) -> None:
    """Say what was found; at full size, and with the engine's rate among it, it is the result."""
    figures, beside = found["figures"], {k: found[k] for k in ("stages", "failed", "not_reached")}
    if given.tiny or "rows_per_s" not in figures:
        print(json.dumps(recorded(figures, place) | beside, indent=1), flush=True)
    else:
        print(write_results(NAME, figures, place, **beside), flush=True)
    for name, error in found["failed"].items():
        print(f"failed: {name}: {error}", flush=True)
    if found["not_reached"]:
        print(f"not reached: {', '.join(found['not_reached'])}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
