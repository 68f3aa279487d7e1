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


@pytest.mark.long
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
def test_compiled_its_first_gradient_is_that_of_the_uncompiled(dataset, tmp_path):
    """Weights differ more: AdamW's first steps are a gradient's sign, of one that is nearly zero too."""
    for name, compiled in (("plain", False), ("compiled", True)):
        config = small(law={"steps": 1}, compute={"compile": compiled})
        assert train(config, dataset, tmp_path / name).done
    plain, found = (state_of(tmp_path / name, 1) for name in ("plain", "compiled"))
    gradients = [name for name in plain if name.startswith("mean.")]
    assert max(plain[name].abs().max() for name in gradients) > 1e-3
    for name in gradients:
        torch.testing.assert_close(found[name], plain[name], rtol=1e-3, atol=1e-6, msg=name)
