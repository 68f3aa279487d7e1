"""What the networks run on: its name, its memory, the number formats that it is fast in."""

import resource
import sys
from pathlib import Path

import psutil
import torch

from factory.errors import ModelError


class DeviceInHand:
    """A device that is there. On anything but a CUDA device, memory is this machine's and process's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.kind = device.type
        self.name = device_name(device)
        self.dtypes: tuple[str, ...] = ("float64", "float32")
        if device.type != "cpu":
            self.dtypes += ("float16",)
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

    Raises `ModelError` for a name that torch does not know, and a GPU that it does not find.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"compute.device: must be auto or a torch device, got {name!r}") from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ModelError(
            f"compute.device: must be a device that torch finds here, got {name!r} with {count} GPUs"
        )
    return device


def device_name(device: torch.device) -> str:
    """The model of a device, as far as it can be known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "cpu"
