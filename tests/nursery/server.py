"""A process that has imported torch and its kin, and bears those that need them.

    python -m tests.nursery.server SOCKET

Two thirds of the work of `make test-long` were workers of Ray that each import the same for ten seconds.
Here it is done once, and each worker is a fork of this process. Only what others wrote is imported before;
our own modules a worker imports itself, as always. Beside the socket, a file named by the process that Ray
started holds the id of the one that took its place, and `owner` the id of whose end is the end of all.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import shutil
import signal
import socket
import struct
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

OURS = ("factory", "trainer", "cluster", "schemas", "tests", "editmill")
HEAVY = ("factory.engine", "factory.edits", "trainer.learning", "trainer.feeding")
"""Whose modules import all that is heavy."""
LOOK_S = 1.0
PEER = struct.Struct("3i")
"""Process, user and group of who is at the other end."""


def main() -> None:
    path = Path(sys.argv[1])
    import_all()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Whoever comes before it listens starts as ever.
    listener.bind(f"{path}.new")
    listener.listen(64)
    os.rename(f"{path}.new", path)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wakeful, waking = os.pipe()
    os.set_blocking(waking, False)
    os.set_blocking(wakeful, False)
    signal.set_wakeup_fd(waking)
    nursery = Nursery(path.parent, listener, wakeful, waking)
    owner = Path("/proc") / (path.parent / "owner").read_text()
    while owner.exists():
        nursery.work(LOOK_S)
    nursery.end()
    shutil.rmtree(path.parent, ignore_errors=True)


def import_all() -> None:
    """Everything that our heaviest modules import, without those modules."""
    for name in HEAVY:
        room = importlib.import_module(name)
        for found in pkgutil.walk_packages(room.__path__, f"{name}."):
            importlib.import_module(found.name)
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        if name not in {"tests", "tests.nursery", "tests.nursery.server"}:
            del sys.modules[name]
    gc.collect()
    gc.freeze()


class Nursery:
    """Its children, and the connections of those whose places they take."""

    def __init__(self, folder: Path, listener: socket.socket, *pipe: int) -> None:
        self.folder = folder
        self.listener = listener
        self.pipe = pipe
        self.children: dict[int, tuple[socket.socket, Path]] = {}
        self.eyes = selectors.DefaultSelector()
        self.eyes.register(listener, selectors.EVENT_READ)
        self.eyes.register(pipe[0], selectors.EVENT_READ)

    def work(self, seconds: float) -> None:
        """Bear who is asked for, and part with those that have ended."""
        for key, _ in self.eyes.select(seconds):
            if key.fileobj is self.listener:
                self.bear(self.listener.accept()[0])
            elif key.fd == self.pipe[0]:
                with suppress(BlockingIOError):
                    os.read(self.pipe[0], 4096)
            else:
                # Whose place it takes has ended.
                with suppress(ProcessLookupError):
                    os.kill(key.data, signal.SIGKILL)
                self.eyes.unregister(key.fileobj)
        self.part()

    def bear(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            _, files, _, _ = socket.recv_fds(connection, 1, 3)
            with connection.makefile("rb") as stream:
                order = json.loads(stream.readline())
        except (OSError, ValueError):
            connection.close()
            return
        wanted = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
        place = self.folder / str(PEER.unpack(wanted)[0])
        pid = os.fork()
        if not pid:
            self.forget()
            connection.close()
            with suppress(OSError):
                place.write_text(str(os.getpid()))
            live(order, files)
        for file in files:
            os.close(file)
        self.children[pid] = connection, place
        self.eyes.register(connection, selectors.EVENT_READ, pid)

    def part(self) -> None:
        """Let go of those whose places were taken by children that have ended."""
        while self.children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if not ended:
                return
            connection, place = self.children.pop(ended.si_pid)
            # While it still has its id, so that nobody else is ever taken for it.
            place.unlink(missing_ok=True)
            os.waitpid(ended.si_pid, 0)
            with suppress(KeyError):
                self.eyes.unregister(connection)
            connection.close()

    def forget(self) -> None:
        """In a child: nothing of this stays open."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.eyes.close()
        for connection, _ in self.children.values():
            connection.close()
        self.listener.close()
        for end in self.pipe:
            os.close(end)

    def end(self) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def live(order: dict[str, Any], files: list[int]) -> None:
    """Be the worker, to its end."""
    # Raylets end whole groups of processes.
    os.setsid()
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = order["argv"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    named = order["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [entry for entry in named if entry and entry not in sys.path]
    code: Any = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    # As an interpreter ends, but for taking thousands of modules apart.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
