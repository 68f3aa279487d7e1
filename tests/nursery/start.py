"""One nursery for all processes of a run of tests, begun by the first that will need it."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.environment import NURSERY_SITE, ROOT

SOCKET = "EDITMILL_NURSERY"


def announce() -> None:
    """Say to all processes below this one where the nursery is, or will be."""
    if SOCKET in os.environ:
        return
    # Short, as paths of sockets must be.
    folder = tempfile.mkdtemp(prefix="em-nursery-", dir="/tmp")
    (Path(folder) / "owner").write_text(str(os.getpid()))
    os.environ[SOCKET] = f"{folder}/socket"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(NURSERY_SITE), os.environ.get("PYTHONPATH")))
    )


def begin() -> None:
    """Have one, unless there is one, or none is wanted."""
    if not os.environ[SOCKET]:
        return
    socket = Path(os.environ[SOCKET])
    try:
        (socket.parent / "begun").touch(exist_ok=False)
    except OSError:
        return
    subprocess.Popen(
        [sys.executable, "-m", "tests.nursery.server", str(socket)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=(socket.parent / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end() -> None:
    """Of whoever announced it, and had none begun: one that was ends by itself."""
    folder = Path(os.environ[SOCKET] or "/nowhere/socket").parent
    with suppress(FileNotFoundError):
        ours = (folder / "owner").read_text() == str(os.getpid())
        if ours and not (folder / "begun").exists():
            shutil.rmtree(folder)
