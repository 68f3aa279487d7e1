"""What Ray tells of itself, in a line of ours or not at all."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    UserCodeException,
    WorkerCrashedError,
)

from factory.errors import EditmillError, first_line
from factory.on_ray.ray_internals import PROGRESS_LOGGER

LOGGERS = ("ray", "ray.data", PROGRESS_LOGGER, "ray.train")
"""Those for which Ray sets levels of their own."""
DEATH = re.compile(r"A worker died or was killed while executing")
WHERE = re.compile(r"Worker IP address: (\S+).*?Worker PID: (\d+)", re.DOTALL)
DIED = "a worker's process died; where memory ran short, the system's log says so"


def quieten() -> None:
    """Nothing of Ray's own logs on the terminal: what matters of them is told as an error.

    It does not undo what the operator has set for Ray's processes.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    quieten_loggers()


def quieten_loggers() -> None:
    """Again: `ray.data` and `ray.train` set up theirs when they are imported, or first used."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, what is written to stderr by file number is dropped.

    While Ray starts, a handler of its own has the signals for a moment, which prints addresses in its code.
    """
    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nowhere)


def event(line: str) -> str:
    """Something that Ray's own processes tell the driver, in one line."""
    if not DEATH.search(line):
        return f"ray: {first_words(line)}"
    found = WHERE.search(line)
    return f"{DIED} (process {found[2]} on {found[1]})" if found else DIED


def plain(error: BaseException) -> str:
    """What went wrong, without Ray's frames and numbers."""
    cause = getattr(error, "controller_failure", None) or _cause(error)
    if isinstance(cause, BaseException):
        return plain(cause)
    if isinstance(error, EditmillError):
        return str(error)
    if isinstance(error, OutOfMemoryError):
        return "a node ran short of memory, so that Ray ended a worker there"
    if isinstance(error, NodeDiedError):
        return "a node was lost"
    text = str(error).strip()
    if isinstance(error, RayTaskError) or "raised in its creation task" in text:
        return first_words(text.splitlines()[-1])
    if isinstance(error, RayActorError | WorkerCrashedError):
        return DIED
    return first_line(error, 300)


def _cause(error: BaseException) -> BaseException | None:
    """What was raised in a worker, if this error is about that and it has come here."""
    if isinstance(error, RayTaskError):
        # Ray also makes it a kind of what was raised, by which it would be taken for that.
        cause = getattr(error, "cause", None)
        return cause.__cause__ if isinstance(cause, UserCodeException) else cause
    return None


def first_words(text: str, length: int = 300) -> str:
    """The start of a text, on one line."""
    return " ".join(text.split())[:length]
