"""What is to be measured on a GPU runs here on a CPU, with a small network."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.record import RESULTS
from benchmarks.trainer_gpu import measured
from tests.benchmarks.plain_python import plain_python
from tests.factory.engine.tiny import SCHEDULER, tiny_parts

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_measure_of_a_step_counts_its_work():
    torch.set_num_threads(1)
    unet = tiny_parts(dtype=torch.float32).unet
    figures = measured(unet, SCHEDULER, torch.device("cpu"), 2, 3, lambda network: network, 64)
    assert unet.conv_in.in_channels == 8
    assert figures["batch"] == 2
    # Going forward through the input layer alone: 2 pairs, 32x32 places, 9 weights, 8 to 32 channels.
    assert figures["tflop_per_step"] * 1e12 > 2 * 2 * 32**2 * 9 * 8 * 32
    assert figures["matmul_share"] > 0


@pytest.mark.long
def test_the_documented_small_run_ends_well_and_writes_nothing(tmp_path):
    """With the documented packages alone."""
    engine, trainer = "benchmarks/engine_gpu.py", "benchmarks/trainer.py --gpu"
    python = plain_python(tmp_path, engine, trainer)
    before = {path: path.read_bytes() for path in RESULTS.iterdir()}
    done = subprocess.run(
        [*python, "benchmarks/trainer.py", "--gpu", "--tiny", "--threads", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["matmul_share"] > 0
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == before
