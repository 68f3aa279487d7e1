"""The optimiser on a GPU, and a gradient that nobody clips."""

import pytest
import torch
from torch import nn

from tests.factory.engine.waits import META
from tests.trainer.small import small
from trainer.learning import state as module
from trainer.learning.state import State


def law(**more):
    return small(False, law=more).law


@pytest.fixture
def on_gpu(monkeypatch):
    """As if all parts were on one."""
    monkeypatch.setattr(State, "_on_cuda", property(lambda state: True))


def test_on_a_gpu_one_kernel_steps_all_weights(on_gpu):
    assert State(nn.Linear(2, 2), law()).optimiser.defaults["fused"]


def test_elsewhere_it_does_not():
    assert not State(nn.Linear(2, 2), law()).optimiser.defaults["fused"]


@pytest.mark.parametrize("gpu", [True, False])
def test_a_restored_step_counts_where_the_optimiser_reads_it(gpu, monkeypatch):
    """On a GPU beside the weights, or each of them would wait for it; on a host as torch has it."""
    network = nn.Linear(2, 2, bias=False, device=META)
    state = State(network, law())
    monkeypatch.setattr(State, "_on_cuda", property(lambda state: gpu))
    zeros = torch.zeros(2, 2)
    names = ("weight", "average", "mean", "square")
    state.restore(3, {f"{name}.weight": zeros for name in names})
    (moments,) = state.optimiser.state.values()
    assert moments["step"].device == (META if gpu else torch.device("cpu"))


def test_a_law_without_a_largest_norm_scales_no_gradient(monkeypatch):
    def scale(*_):
        raise AssertionError("a gradient was scaled")

    monkeypatch.setattr(module.nn.utils, "clip_grads_with_norm_", scale)
    network = nn.Linear(2, 2)
    network(torch.ones(1, 2)).sum().backward()
    before = {name: one.grad.clone() for name, one in network.named_parameters()}
    norm = State(network, law(clip_norm=None)).clip()
    assert float(norm) == pytest.approx(6**0.5)
    for name, one in network.named_parameters():
        assert torch.equal(one.grad, before[name])
    with pytest.raises(AssertionError, match="was scaled"):
        State(network, law(clip_norm=1.0)).clip()
