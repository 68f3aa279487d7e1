"""A language model of a folder behind `transformers serve`, on this machine, for as long as it is asked."""

import ctypes
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from factory.console.signals import at_end, unbroken
from factory.errors import ConfigError, EditmillError

LOOK_EVERY_S = 0.2
LONGEST_START_S = 180.0
"""Until it answers; importing torch and transformers takes most of it."""
NEEDED = ("fastapi", "uvicorn")
PR_SET_PDEATHSIG = 1
_SERVE = "from transformers.cli.transformers import main; main()"


@contextmanager
def served(folder: Path, name: str) -> Iterator[str]:
    """The base URL of an OpenAI-compatible server of the model, on 127.0.0.1; it ends with the block.

    The server calls the model `name`, wherever its folder lies.

    Raises `ConfigError` where what serves is not installed, `EditmillError` where it does not start.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving a language model needs {' and '.join(missing)}: pip install 'editmill[serve]'"
        )
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as place:
        (Path(place) / name).symlink_to(folder, target_is_directory=True)
        with unbroken():
            port = _free_port()
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, "serve", name, "--port", str(port)]
                + ["--host", "127.0.0.1", "--device", "cpu", "--log-level", "error"],
                cwd=place,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_ends_with_its_parent,
            )
            at_end(process.kill)
        try:
            _await(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + LONGEST_START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            raise EditmillError(
                f"transformers serve: ended with {process.returncode}: {said[-1] if said else 'no word'}"
            )
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(LOOK_EVERY_S)
    raise EditmillError(
        f"transformers serve: must answer within {LONGEST_START_S:g} s, and does not"
    )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _ends_with_its_parent() -> None:
    """Also where that is killed; on Linux alone, elsewhere it is left behind then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
