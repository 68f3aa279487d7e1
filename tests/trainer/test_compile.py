"""`compute.compile`: the same training through torch.compile."""

from functools import partial

import pytest
import torch

from tests.trainer.small import small, state_of, train, write_pairs


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def plain(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    assert train(small(), dataset, out).done
    return state_of(out)


def test_what_is_captured_trains_as_what_is_not(dataset, plain, tmp_path, monkeypatch):
    """With a compiler that runs the captured graphs as they are; the option's own takes minutes."""
    graphs = []

    def as_captured(graph, _):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=as_captured))
    assert train(small(compute={"compile": True}), dataset, tmp_path).done
    assert graphs
    found = state_of(tmp_path)
    assert found.keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_compiled_it_trains_as_uncompiled(dataset, plain, tmp_path):
    assert train(small(compute={"compile": True}), dataset, tmp_path).done
    found = state_of(tmp_path)
    for name, tensor in plain.items():
        if name.startswith("weight"):
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
