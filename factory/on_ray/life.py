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


class Life:
    """Looks every now and then, in a thread, until `close`."""

    def __init__(self, why_dead: Callable[[], str | None], every_s: float) -> None:
        self._closed = threading.Event()
        self._why_dead = why_dead
        self._every_s = every_s
        threading.Thread(target=self._look, daemon=True).start()

    def close(self) -> None:
        """From now on Ray may end."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(self._every_s):
            why = self._why_dead()
            if why is not None and not self._closed.is_set():
                give_up(f"ray: {why}; {AGAIN}")
                return


def watch_own() -> Life:
    """A Ray that this process has started."""
    needed = [child for child in psutil.Process().children() if child.name() in NEEDED]

    def why_dead() -> str | None:
        for process in needed:
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    continue
            return "one of its own processes has ended, as where memory is too short"
        return None

    return Life(why_dead, LOOK_EVERY_S)


def watch_cluster(address: str) -> Life:
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

    return Life(why_dead, ASK_EVERY_S)
