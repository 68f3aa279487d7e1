"""Whether Ray itself still lives: where it does not, its library ends this process without a word."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from factory.console.signals import give_up

NEEDED = ("gcs_server", "raylet")
"""Processes of a Ray of our own without which there is none."""
LOOK_EVERY_S = 1.0
ASK_EVERY_S = 5.0
PATIENCE_S = 45.0
"""A cluster's head may be started anew; Ray ends its drivers after 60 s, which is told before."""
AGAIN = "what is committed stays; run the same command to resume"


def _watch(why_dead: Callable[[], str | None], every_s: float) -> Callable[[], None]:
    """Look every now and then, in a thread; once what is returned was called, Ray may end."""
    closed = threading.Event()

    def look() -> None:
        while not closed.wait(every_s):
            why = why_dead()
            if why is not None and not closed.is_set():
                give_up(f"ray: {why}; {AGAIN}")
                return

    threading.Thread(target=look, daemon=True).start()
    return closed.set


def lives(process: psutil.Process) -> bool:
    """Whether a process is there and has not ended, reaped or not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def watch_own() -> Callable[[], None]:
    """A Ray that this process has started; what is returned ends the watch."""
    needed = [child for child in psutil.Process().children() if child.name() in NEEDED]

    def why_dead() -> str | None:
        if all(map(lives, needed)):
            return None
        return "one of its own processes has ended, as where memory is too short"

    return _watch(why_dead, LOOK_EVERY_S)


def watch_cluster(address: str) -> None:
    """A cluster that was joined, by its head's host:port."""
    host, _, port = address.rpartition(":")
    heard = time.monotonic()

    def why_dead() -> str | None:
        nonlocal heard
        try:
            with socket.create_connection((host.strip("[]"), int(port)), ASK_EVERY_S):
                heard = time.monotonic()
        except OSError:
            if time.monotonic() - heard > PATIENCE_S:
                return f"the cluster's head at {address} has not answered for {PATIENCE_S:.0f} s"
        return None

    _watch(why_dead, ASK_EVERY_S)
