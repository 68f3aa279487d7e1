"""Time and memory on a device: a call's seconds, how long kernels ran in it, where it waits, its peak."""

import gc
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).parents[2]
Act = Callable[[], object]
GIB = 2**30


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(
    act: Act, device: torch.device, enough_s: float, left: Callable[[], float], least: int = 3
) -> list[float]:
    """Of single calls, the device waited for before and after each; nothing is warmed up here.

    At least `least` calls, then more until `enough_s` have been spent, 50 at most. Once one more would
    not end within `left()` seconds, no other is begun, so that there may be one alone.
    """
    taken: list[float] = []
    while len(taken) < least or (sum(taken) < enough_s and len(taken) < 50):
        if taken and left() < 1.2 * max(taken):
            break
        wait(device)
        begun = time.perf_counter()
        act()
        wait(device)
        taken.append(time.perf_counter() - begun)
    return taken


def median_s(
    act: Act, device: torch.device, enough_s: float, left: Callable[[], float], warm: int = 2
) -> float:
    """The median of `seconds_of`, after some calls that do not count."""
    for _ in range(warm):
        act()
    return statistics.median(seconds_of(act, device, enough_s, left))


def busy_and_wall(act: Act, device: torch.device) -> tuple[float, float]:
    """Seconds in which some kernel or copy ran on the device during a call, and the call's own.

    By torch's profiler, told of the device alone; times that overlap, in streams or threads beside each
    other, count once. On a CPU operators stand for kernels. Raises `RuntimeError` where the profiler saw
    nothing.
    """
    cuda = device.type == "cuda"
    activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    # Of a GPU all streams are seen; of a CPU the calling thread alone, unless asked for.
    threads = None if cuda else _ExperimentalConfig(profile_all_threads=True)
    wait(device)
    with profile(activities=[activity], experimental_config=threads) as seen:
        begun = time.perf_counter()
        act()
        wait(device)
        wall = time.perf_counter() - begun
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in seen.events() or ()
        if event.device_type.name == activity.name
        and not getattr(event, "is_user_annotation", False)
    ]
    if not spans:
        raise RuntimeError("the profiler saw nothing run on the device")
    return covered(spans) / 1e6, wall


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans from start to end."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


def waits_in(act: Act, device: torch.device) -> list[str]:
    """Our lines in which a call makes the host wait for the device, as often as it does; none on a CPU."""
    if device.type != "cuda":
        act()
        return []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            act()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [
        f"{place(one.filename)}:{one.lineno}" for one in told if "synchroniz" in str(one.message)
    ]


def place(file: str) -> str:
    """A source file, from the repository's root or from the package's folder on."""
    for root in (f"{ROOT}/", "site-packages/"):
        if root in file:
            return file.rpartition(root)[2]
    return Path(file).name


class Memory:
    """The peak of a stretch of work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def forget(self) -> None:
        """The stretch begins now, with nothing held that nobody uses."""
        gc.collect()
        if self.device.type == "cuda":
            # After a fault of the device all of this fails, and the stage then says so by itself.
            with suppress(RuntimeError):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> dict[str, float]:
        """GiB that tensors took, and torch reserved for them; on a CPU the process's, since it began."""
        if self.device.type != "cuda":
            return {"peak_process_gib": round(_process_peak() / GIB, 2)}
        return {
            "peak_allocated_gib": round(torch.cuda.max_memory_allocated(self.device) / GIB, 2),
            "peak_reserved_gib": round(torch.cuda.max_memory_reserved(self.device) / GIB, 2),
        }


def _process_peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
