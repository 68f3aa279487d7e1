"""A language model of a folder behind `transformers serve`, on this machine, for as long as it is asked."""

import importlib.util
import os
import signal
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

from factory.console.child import ending_with_parent, free_port
from factory.console.signals import at_end, unbroken
from factory.errors import ConfigError, EditmillError

LOOK_EVERY_S = 0.2
LONGEST_START_S = 180.0
"""Until it answers; importing torch and transformers takes most of it."""
NEEDED = ("fastapi", "uvicorn")
_SERVE = "from transformers.cli.transformers import main; main()"


@contextmanager
def served(folder: Path, name: str) -> Iterator[str]:
    """The base URL of an OpenAI-compatible server of the model, on 127.0.0.1; it ends with the block.

    The server calls the model `name`, wherever its folder lies.

    Raises `ConfigError` where what serves is not installed, `EditmillError` where it does not start.
    """
    check_serving()
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as place:
        (Path(place) / name).symlink_to(folder, target_is_directory=True)
        with unbroken():
            port = free_port()
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, "serve", name, "--port", str(port)]
                + ["--host", "127.0.0.1", "--device", "cpu", "--log-level", "error"],
                cwd=place,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=ending_with_parent(signal.SIGKILL),
            )
            at_end(process.kill)
        try:
            _await(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def check_serving() -> None:
    """Raise `ConfigError` where what serves is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving a language model needs {' and '.join(missing)}: pip install 'editmill[serve]'"
        )


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
