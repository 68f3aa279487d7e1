"""What the environment says, in these tests and in the processes that they start."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import typer.main
import typer.testing

ROOT = Path(__file__).parents[1]
NURSERY_SITE = ROOT / "tests/nursery/site"
NICENESS = "RAY_worker_niceness"
MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: many small files are made several times as fast there."""
ENOUGH = 6 * 2**30
"""Bytes that all tests together may leave there."""


def prefer_workers() -> None:
    """Ray starts its workers with a niceness of 15: beside other tests they would hardly ever run."""
    os.environ[NICENESS] = "0"


def keep_no_logs() -> None:
    """Of starts in tests, in the folder of whoever runs them."""
    os.environ["EDITMILL_LOG_DIR"] = ""


def write_into_memory() -> None:
    """Temporary folders of pytest and of whoever asks for one, where nobody has named another place."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    if shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
        # It may have been asked for already.
        tempfile.tempdir = None


@contextmanager
def verbs_made_once() -> Iterator[None]:
    """The tree of verbs is made once, as in any process, and not for each of a thousand calls."""
    made = cache(typer.main.get_command)
    with patch("typer.main.get_command", made), patch("typer.testing._get_command", made):
        yield


def python_path(*before: object) -> str:
    """For PYTHONPATH: this repository, and where Ray's workers hear of the nursery."""
    return os.pathsep.join([*map(str, before), str(NURSERY_SITE), str(ROOT)])


def without_ray() -> dict[str, str]:
    """As somebody has it who knows nothing of the Ray of these tests."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == NICENESS or not name.startswith("RAY_")
    }
