"""Processes that a program starts for itself: they end with it, and find a free port."""

import ctypes
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def ending_with_parent(number: signal.Signals) -> Callable[[], object] | None:
    """What `Popen` is to run in the child before its program: this signal comes when the parent dies, once
    for each of its threads. None where no system call is known for it: there it is left behind.
    """
    return partial(_LIBC.prctl, PR_SET_PDEATHSIG, number) if _LIBC else None


def free_port() -> int:
    """One of 127.0.0.1 on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
