"""Devices that are not here are refused, whatever they are called."""

import pytest
import torch

from factory.engine import device
from factory.engine.device import check_device, find_device, torch_device
from factory.errors import ModelError
from schemas.config import Compute
from schemas.training.fit import Where


@pytest.mark.parametrize("name", ["mps", "xpu", "cuda:77", "meta", "hpu", "cpu:1"])
def test_a_device_that_is_not_here_is_refused(name, monkeypatch):
    # Also on a machine that has it.
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with pytest.raises(ModelError, match=f"must be a device that torch finds here, got '{name}'"):
        torch_device(name)


def test_metal_is_taken_where_it_is(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert torch_device("mps").type == "mps"
    assert "float64" not in find_device("mps").dtypes


@pytest.mark.parametrize("kind", [Compute, Where])
def test_what_is_asked_of_a_cluster_is_not_looked_for_here(kind, monkeypatch):
    away = kind(device="cuda:77")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    check_device(away)
    with pytest.raises(ModelError, match="got 'cuda:77'"):
        check_device(kind(device="cuda:77", where="here"))
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(ModelError, match="got 'cuda:77'"):
        check_device(away)
    with pytest.raises(ModelError, match="gpus_per_worker: must be 0 on compute.device=cpu, got 1"):
        check_device(kind(device="cpu"))
    check_device(kind(device="cpu", gpus_per_worker=0))
    check_device(kind(device="auto"))


@pytest.mark.parametrize(("flags", "fast"), [("fpu avx512_bf16", True), ("fpu avx2", False)])
def test_a_cpu_that_multiplies_bfloat16_is_not_called_slow_at_it(flags, fast, monkeypatch):
    monkeypatch.setattr(device, "_cpuinfo", lambda *names: iter([flags]))
    assert ("bfloat16" in find_device("cpu").dtypes) == fast


@pytest.mark.parametrize(
    ("given", "vendor", "refused"),
    [
        ("0", "0x10de", True),
        ("0", "0x8086", False),
        ("", "0x10de", False),
        ("-1", "0x10de", False),
        ("NoDevFiles", "0x10de", False),
    ],
    ids=["a card without a driver", "a GPU in name alone", "none given", "hidden", "Slurm's none"],
)
def test_a_gpu_that_is_given_and_not_found_is_no_reason_to_compute_on_the_cpu(
    given, vendor, refused, tmp_path, monkeypatch
):
    (tmp_path / "0000:00:04.0").mkdir()
    (tmp_path / "0000:00:04.0" / "vendor").write_text(f"{vendor}\n")
    monkeypatch.setattr(device, "DEVICES", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if refused:
        with pytest.raises(ModelError, match="is its driver installed"):
            torch_device("auto")
    else:
        assert torch_device("auto") == torch.device("cpu")
    assert torch_device("cpu") == torch.device("cpu")
