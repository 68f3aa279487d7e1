"""What is to be measured on a GPU runs here on a CPU, with a small network."""

import pytest
import torch

from benchmarks.trainer_gpu import measured
from tests.factory.engine.tiny import SCHEDULER, tiny_parts


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
