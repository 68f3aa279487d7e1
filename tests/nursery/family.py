"""Who descends from a process, where workers of Ray are children of the nursery."""

import os
from contextlib import suppress
from pathlib import Path

import psutil


def who_took(pid: int) -> int:
    """The process that took the place of this one, or itself.

    Where a worker has a runtime environment, what sets that up was born, too, and gave its place away.
    """
    socket = os.environ.get("EDITMILL_NURSERY")
    if socket:
        with suppress(OSError, ValueError):
            return who_took(int((Path(socket).parent / str(pid)).read_text()))
    return pid


def descendants(pid: int) -> list[psutil.Process]:
    """Children and theirs; in the place of one that waits for another, that other."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        took = who_took(child.pid)
        if took == child.pid:
            found.append(child)
            continue
        with suppress(psutil.NoSuchProcess):
            found += [psutil.Process(took), *descendants(took)]
    return found
