"""What is to be measured on a GPU runs here on a CPU, with a small model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import engine_gpu
from benchmarks.engine_gpu import Benchmark, concluded, ratios
from benchmarks.on_gpu import engine_rounds
from benchmarks.on_gpu.engine_model import FULL, TINY, candidates, recipe, tflop_per_row
from benchmarks.on_gpu.stages import STOPPED, Stages
from factory.pairs.source import Made, NotMade
from schemas.candidate import Scores
from tests.benchmarks.plain_python import plain_python

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "engine_gpu.json"
ABSENT = (
    *("ray", "boto3", "botocore", "moto", "s3fs", "pytest", "hypothesis"),
    *("datasets", "openai", "grpc", "pyarrow", "typer", "rich", "peft", "accelerate", "timm"),
)
"""What a machine may lack beside torch and the few packages of docs/gpu.md."""
BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT}))  # an import of them now fails\n"
CPU = torch.device("cpu")


def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which no process finds the absent ones."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    one = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | one


IMPORTS = """
import importlib
for name in ("engine_gpu", "on_gpu.engine_model", "on_gpu.engine_rivals", "on_gpu.engine_rounds"):
    importlib.import_module(f"benchmarks.{name}")
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from tests.factory.engine import reference, reference_samplers, reference_scores
print("imported")
"""


@pytest.mark.long
def test_it_needs_torch_and_few_packages_beside_it(tmp_path):
    program, packages = tmp_path / "imports.py", tmp_path / "packages"
    program.write_text(IMPORTS)
    packages.mkdir()
    run = [*plain_python(packages, "benchmarks/engine_gpu.py"), str(program)]
    environment = os.environ | {"PYTHONPATH": ""}
    out = subprocess.run(run, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert out.stdout == "imported\n", out.stderr


@pytest.mark.slow
def test_the_small_run_gives_every_figure_and_no_result(tmp_path):
    before = RESULT.read_bytes() if RESULT.exists() else None
    run = [sys.executable, "benchmarks/engine_gpu.py", "--tiny", "--seconds", "900"]
    out = subprocess.run(
        [*run, "--out", str(tmp_path / "out")],
        env=without(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert (RESULT.read_bytes() if RESULT.exists() else None) == before
    found = json.loads((tmp_path / "out" / "engine_gpu.json").read_text())
    assert (found["failed"], found["not_reached"], found["running"]) == ({}, [], None)
    assert list(found["stages"]) == [
        s.name for s in Benchmark(TINY, CPU, tmp_path, tmp_path).stages()
    ]
    figures = found["figures"]
    for name in ("repeats", "order", "mates", "alone"):
        assert figures[f"{name}_bitwise"] is True, figures[f"{name}_differences"]
    assert figures["alone_differences"]["of"] == 2
    assert figures["pictures_differ"] is True
    assert set(figures["rows_per_s_by_pairs"]) == {"1", "2", "4"}
    assert figures["rows_per_s_by_pairs"]["4"] == figures["rows_per_s"]
    # Without shared attention it would be 0.3; in float32 it is 5e-6.
    assert 0 < figures["original_distance"] < 0.15
    positive = (
        *("rows_per_s", "matmul_share", "over_reference", "over_diffusers"),
        *("engine_over_bare_unet_gpu", "denoising_over_bare_unet_gpu", "over_diffusers_compiled"),
        *("over_diffusers_one_pair", "over_diffusers_channels_last", "peak_process_gib"),
        *("decode_ms", "score_ms", "finish_ms", "step_ms", "step_kernels_ms", "tflop_per_row"),
        *("bare_unet_channels_last_rows_per_s", "diffusers_compiled_peak_process_gib"),
    )
    assert {name for name in positive if not figures[name] > 0} == set()
    shares = ("idle_share", "denoising_idle_share", "decoding_idle_share")
    assert {name for name in shares if not 0 <= figures[name] < 1} == set()
    assert len(figures["round_s"]) == 3
    assert (figures["not_made"], figures["not_made_reasons"]) == (0, [])


def test_a_row_is_counted_as_stable_diffusion_1_5s():
    assert tflop_per_row(FULL) == pytest.approx(0.803, abs=0.001)


def test_full_size_is_the_fast_presets_recipe(tmp_path):
    of = recipe(tmp_path, FULL)
    assert (of.steps, of.size_px, of.dtype, of.solver) == (25, 512, "bfloat16", "euler_ancestral")
    assert (FULL.matrix, FULL.pairs, FULL.other_pairs) == (8192, 32, (8, 16, 64))
    assert (FULL.unet, FULL.autoencoder, FULL.text, FULL.clip) == ({}, {}, {}, {})
    draws = candidates(of, 2 * max(FULL.other_pairs))
    assert len({draw.seed for draw in draws}) == len(draws) == 128
    assert candidates(of, 2, first=64) == draws[64:66]


def test_measures_after_a_model_that_failed_say_why(tmp_path):
    benchmark = Benchmark(TINY, CPU, tmp_path, tmp_path)
    for measure in (benchmark.engine, benchmark.bitwise, benchmark.in_child):
        with pytest.raises(RuntimeError, match="`model` failed"):
            measure()


def made(draw, shift=0, score=0.5):
    picture = np.full((4, 4, 3), draw.seed % 200, dtype=np.uint8)
    scores = Scores(**dict.fromkeys(Scores.model_fields, score))
    return Made(draw, picture, picture + np.uint8(1 + shift), scores, truncated=False)


@pytest.mark.parametrize(
    ("wrong", "how", "apart"),
    [("repeats", {"shift": 3}, (3, 0.0)), ("alone", {"score": 0.5 + 2**-20}, (0, 2**-20))],
)
def test_bytes_and_scores_that_change_are_found(wrong, how, apart, monkeypatch, tmp_path):
    calls = []

    def make(_, draws):
        calls.append(len(draws))
        way = ["first", "repeats", "order", "mates", "alone"][min(len(calls), 5) - 1]
        return {draw.seed: made(draw, **(how if way == wrong else {})) for draw in draws}

    class Stub:
        recipe = recipe(tmp_path, TINY)

    monkeypatch.setattr(engine_rounds, "made", make)
    monkeypatch.setattr(engine_rounds, "reshaped", lambda engine, pairs, steps: engine)
    figures = engine_rounds.bitwise(Stub(), TINY)
    assert calls == [4, 4, 4, 4, 1, 1]
    for way in ("repeats", "order", "mates", "alone"):
        assert figures[f"{way}_bitwise"] is (way != wrong)
    seen = figures[f"{wrong}_differences"]
    assert (seen["largest_pixel"], seen["largest_score"]) == apart
    assert seen["pairs"] == seen["of"] > 0


CHILDREN = {
    "hangs": "open(folder / 'pid', 'w').write(str(os.getpid())); time.sleep(600)",
    "crashes": "os._exit(7)",
    "fails": """keep({"figures": {}, "failed": {"model": "ModelError: no unet"}})""",
    "works": """keep({
        "figures": {"pairs": 4, "diffusers_compiled_rows_per_s": 9.0},
        "failed": {},
        "stages": {"diffusers, compiled": {"seconds": 3, "peak_gib": 2.5}},
    })""",
}
CHILD = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
folder.mkdir()
def keep(found): (folder / "engine_gpu.json").write_text(json.dumps(found))
"""


def in_child(what, tmp_path, monkeypatch):
    """The measure in a process of its own, which does this instead."""
    script = tmp_path / "child.py"
    script.write_text(CHILD + CHILDREN[what])
    monkeypatch.setattr(engine_gpu, "__file__", str(script))
    benchmark = Benchmark(TINY, CPU, tmp_path, tmp_path)
    benchmark._engine = object()
    benchmark.left = lambda: engine_gpu.RESERVE_S + 1
    return benchmark.in_child()


def test_a_compiler_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_gpu, "GRACE_S", 2.0)
    with pytest.raises(RuntimeError, match="did not end within 1 s"):
        in_child("hangs", tmp_path, monkeypatch)
    pid = int((tmp_path / "compiled" / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("what", "told"), [("crashes", "code 7 and no figure"), ("fails", "ModelError: no unet")]
)
def test_a_compiler_that_fails_says_how(what, told, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=told):
        in_child(what, tmp_path, monkeypatch)


def test_of_the_compilers_process_its_own_figures_are_taken_and_no_older_ones(
    tmp_path, monkeypatch
):
    own = {"diffusers_compiled_rows_per_s": 9.0, "diffusers_compiled_peak_gib": 2.5}
    assert in_child("works", tmp_path, monkeypatch) == own
    with pytest.raises(RuntimeError, match="no figure"):
        in_child("crashes", tmp_path, monkeypatch)


def test_rounds_are_counted_from_one_full_batch_to_the_next(monkeypatch):
    clock = iter([10.0, 12.5, 16.0])
    monkeypatch.setattr(engine_rounds.time, "perf_counter", lambda: next(clock))
    draws = candidates(recipe(Path("model"), TINY), 2)

    class Stub:
        def pairs(self, asked):
            assert asked == draws * 3
            # One that cannot be made took its time all the same.
            yield NotMade(asked[0], "picture must be finite", truncated=False)
            yield from (made(draw) for draw in asked[1:])

    seconds, reasons = engine_rounds.run_rounds(Stub(), draws, 2)
    assert (seconds, reasons) == ([2.5, 3.5], ["picture must be finite"])
    with pytest.raises(RuntimeError, match="not made: picture must be finite"):
        engine_rounds.made(Stub(), draws * 3)


KNOWN = {
    "rows_per_s": 400.0,
    "matmul_tflops": 800.0,
    "tflop_per_row": 0.8,
    "bare_unet_rows_per_s": 500.0,
    "original_rows_per_s": 100.0,
    "diffusers_rows_per_s": 320.0,
    "denoising_rows_per_s": 450.0,
}


@pytest.mark.parametrize(("busy", "share"), [(6.0, 0.25), (8.0, 0.0)])
def test_the_idle_share_is_of_whole_rounds_whose_streams_overlap(
    busy, share, monkeypatch, tmp_path
):
    class Stub:
        recipe = recipe(tmp_path, TINY)
        device = CPU
        asked = 0

        def pairs(self, draws):
            self.asked += len(draws)
            return iter(())

    def looked_at(act, device):
        act()
        return busy, 8.0

    stub = Stub()
    monkeypatch.setattr(engine_rounds, "reshaped", lambda engine, pairs, steps: engine)
    monkeypatch.setattr(engine_rounds, "busy_and_wall", looked_at)
    assert engine_rounds.idle(stub, TINY) == {"idle_share": share}
    assert stub.asked == 2 * TINY.pairs


def test_the_watchdog_leaves_time_to_clean_up_before_the_end(monkeypatch, tmp_path):
    """And no measure begins in the time that is left for one that hangs."""
    given = []

    class Timer:
        def __init__(self, seconds, *_):
            given.append(seconds)

        def start(self):
            pass

        cancel = start

    def stages(seconds, *_):
        given.append(seconds)
        return Stages(seconds, *_)

    monkeypatch.setattr(engine_gpu.threading, "Timer", Timer)
    monkeypatch.setattr(engine_gpu, "Stages", stages)
    monkeypatch.setattr(engine_gpu, "STARTED", engine_gpu.time.monotonic())
    monkeypatch.setattr(Benchmark, "stages", lambda self: [])
    monkeypatch.setattr(sys, "argv", ["engine_gpu", "--tiny", "--out", str(tmp_path / "out")])
    assert engine_gpu.main() == 0
    grace = engine_gpu.GRACE_S
    assert given[0] <= engine_gpu.SECONDS - 2 * grace
    assert given[1] <= engine_gpu.SECONDS - grace
    assert engine_gpu.SECONDS == 480


HANGS = """
import sys, time
from benchmarks import engine_gpu
from benchmarks.on_gpu.stages import Stage

hangs = Stage("hangs", lambda: time.sleep(600))
engine_gpu.Benchmark.stages = lambda own: [Stage("first", lambda: {"a": 1}), hangs]
engine_gpu.GRACE_S = 0.5
engine_gpu.STARTED = time.monotonic()  # its imports take longer than what is given here
sys.exit(engine_gpu.main())
"""


@pytest.mark.long
def test_a_measure_that_hangs_ends_the_run_with_what_was_known(tmp_path):
    run = [sys.executable, "-c", HANGS, "--tiny", "--seconds", "6", "--out", str(tmp_path / "out")]
    out = subprocess.run(
        run, env=without(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert out.returncode == STOPPED == 4, out.stderr
    assert "failed: hangs: did not end within the time of the whole run" in out.stdout
    found = json.loads((tmp_path / "out" / "engine_gpu.json").read_text())
    assert (found["figures"], list(found["failed"])) == ({"a": 1}, ["hangs"])


def test_ratios_follow_from_what_is_known():
    assert ratios(KNOWN) == {
        "matmul_share": 0.4,
        "bare_unet_matmul_share": 0.5,
        "engine_over_bare_unet_gpu": 0.8,
        "over_reference": 4.0,
        "over_diffusers": 1.25,
        "denoising_over_bare_unet_gpu": 0.9,
    }
    assert ratios({"rows_per_s": 1.0}) == {}
    assert ratios({"bare_unet_rows_per_s": 1.0}) == {}


def test_the_engines_peak_is_among_its_figures():
    stages = {"matmul": {"seconds": 1, "peak_gib": 9}, "engine": {"seconds": 2, "peak_gib": 3}}
    found = {"figures": {"pairs": 8}, "stages": stages, "failed": {"x": "y"}}
    assert concluded(found) == {**found, "figures": {"pairs": 8, "peak_gib": 3}}
