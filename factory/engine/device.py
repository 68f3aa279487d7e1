"""What the networks run on: its name, its memory, the number formats that it is fast in."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from factory.errors import ModelError
from schemas.running.pool import Pool


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Inside, the calling thread computes with so many: OpenMP counts them for each."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class DeviceInHand:
    """A device that is there. On anything but a CUDA device, memory is this machine's and process's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.kind = device.type
        self.name = device_name(device)
        # Metal has no float64.
        self.dtypes: tuple[str, ...] = (
            ("float32",) if self.kind == "mps" else ("float64", "float32")
        )
        if device.type != "cpu":
            self.dtypes += ("float16",)
        elif _cpu_words("flags", "Features") & _BFLOAT16:
            self.dtypes += ("bfloat16",)
        self.total = int(psutil.virtual_memory().total)
        if device.type == "cuda":
            self.total = int(torch.cuda.mem_get_info(device)[1])
            # Before compute capability 8, bfloat16 is emulated.
            if torch.cuda.get_device_capability(device) >= (8, 0):
                self.dtypes += ("bfloat16",)

    def free(self) -> int:
        """Bytes that nobody uses."""
        if self.kind == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return int(psutil.virtual_memory().available)

    def held(self) -> int:
        """Bytes that this process holds now."""
        if self.kind == "cuda":
            return int(torch.cuda.memory_allocated(self.device))
        return int(psutil.Process().memory_info().rss)

    def peak(self) -> int:
        """The most bytes that this process held since it began."""
        if self.kind == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def find_device(name: str) -> DeviceInHand:
    """The device that `compute.device` names. Raises `ModelError` where it is not here."""
    return DeviceInHand(torch_device(name))


def torch_device(name: str) -> torch.device:
    """As torch has it; `auto` is the GPU where there is one.

    Raises `ModelError` for a name that torch does not know, and a device that it does not find here; for
    `auto` also where a GPU was given that torch does not find: a paid one would stand idle.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        # These hide all GPUs; the last is Slurm's.
        if name == "cpu" and given not in ("", "-1", "NoDevFiles") and _has_card():
            raise ModelError(
                "compute.device: must be a GPU where one is given (CUDA_VISIBLE_DEVICES), got none that "
                "torch finds though this machine has a card of NVIDIA's; is its driver installed, and the "
                "container started with GPUs? `cpu` computes without"
            )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"compute.device: must be auto or a torch device, got {name!r}") from None
    count = _count(device.type)
    if (device.index or 0) >= count:
        got = f" with {count} GPUs" if device.type == "cuda" else ""
        raise ModelError(
            f"compute.device: must be a device that torch finds here, got {name!r}{got}"
        )
    return device


def _has_card() -> bool:
    """Whether a card of NVIDIA's is on this machine's bus, whatever torch knows of it."""
    return any(file.read_text().strip() == NVIDIA for file in DEVICES.glob("*/vendor"))


DEVICES, NVIDIA = Path("/sys/bus/pci/devices"), "0x10de"


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a worker; `auto` is its GPU where there is one. Raises `ModelError`."""
    device = torch_device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return device


def _count(kind: str) -> int:
    """How many devices of a kind torch finds here."""
    match kind:
        case "cpu":
            return 1
        case "cuda":
            return torch.cuda.device_count()
        case "xpu":
            return torch.xpu.device_count() if torch.xpu.is_available() else 0
        case "mps":
            return int(torch.backends.mps.is_available())
        case _:
            # Others need packages of their own, which nobody tried.
            return 0


def check_device(compute: Pool) -> None:
    """Refuse a device that is not here before anything is begun; those of a cluster are not here.

    Raises `ModelError`.
    """
    if compute.where == "ray" and os.environ.get("RAY_ADDRESS"):
        return
    device = torch_device(compute.device)
    if compute.where == "ray" and compute.gpus_per_worker and compute.device == "cpu":
        raise ModelError(
            f"compute.gpus_per_worker: must be 0 on compute.device={device}, got "
            f"{compute.gpus_per_worker:g}"
        )


def device_name(device: torch.device) -> str:
    """The model of a device, as far as it can be known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return next(iter(_cpuinfo("model name")), "cpu")


_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""What a CPU says of itself that multiplies bfloat16."""


def _cpu_words(*names: str) -> set[str]:
    return {word for value in _cpuinfo(*names) for word in value.split()}


def _cpuinfo(*names: str) -> Iterator[str]:
    """The values of these fields, of every core; none but on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in names:
            yield value.strip()
