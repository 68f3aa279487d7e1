"""The moving average: LitEma's law, once per optimiser step."""

import pytest
import torch
from torch import nn

from trainer.learning.average import Average


def test_it_warms_up_and_then_decays_as_the_law_says():
    weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average = Average([("w", weight)], decay=0.3)
    expected = 0.0
    for step in range(1, 9):
        weight.data += 1
        average.update(step)
        kept = min(0.3, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * step
        assert average.values["w"].tolist() == pytest.approx([expected] * 3, abs=1e-12)
        assert weight.tolist() == [step] * 3


def test_in_place_the_network_is_its_average_and_afterwards_itself():
    weight = nn.Parameter(torch.zeros(2))
    average = Average([("w", weight)], decay=0.5)
    weight.data += 4
    average.update(1)
    with average.in_place():
        assert torch.equal(weight.data, average.values["w"])
        assert weight.tolist() != [4, 4]
    assert weight.tolist() == [4, 4]
