"""The most memory that a process has held.

From /proc, of the program that runs now: `ru_maxrss` of a child that was started also counts what its
parent held when it was forked.
"""

import os
import resource
import subprocess
import threading
from pathlib import Path


def peak_mib(pid: int | str = "self") -> float:
    """MiB since the process began its program. Raises `OSError` where it is gone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if not sizes:
        raise ProcessLookupError(f"{pid}: has ended")
    return int(sizes[0]) / 1024


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, resource.struct_rusage, float]:
    """Its exit code, what it used, and its peak in MiB to a tenth of a second, once it has ended."""
    peak, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.1):
            try:
                peak = peak_mib(process.pid)
            except OSError:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    over.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used, peak
