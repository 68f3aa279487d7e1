"""What Ray tells, and what a person is told of it."""

import logging
import os

import pytest
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    UserCodeException,
    WorkerCrashedError,
)
from ray.train import ControllerError

from factory.errors import StorageUnavailable
from factory.on_ray.words import DIED, LOGGERS, event, hushed, plain, quieten

TRACE = "ray::W.run() (pid=1, ip=10.0.0.1)\n  File 'a.py', line 3, in run\nValueError: no\nroom"


def task_error(cause):
    return RayTaskError("run", TRACE, cause, proctitle="ray::Worker", pid=1, ip="10.0.0.1")


def wrapped(cause):
    error = UserCodeException("in user code")
    error.__cause__ = cause
    return error


CREATION = "The actor died because of an error raised in its creation task, ray::W.__init__()\n"


def unborn(trace):
    error = ActorDiedError()
    error.error_msg = CREATION + trace
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (task_error(ValueError("no\nroom")), "ValueError: no room"),
        (task_error(StorageUnavailable("s3://b: no answer")), "s3://b: no answer"),
        (task_error(wrapped(StorageUnavailable("s3://b: gone"))), "s3://b: gone"),
        (task_error(UserCodeException("in user code")), "room"),
        (task_error(ValueError("x")).as_instanceof_cause(), "ValueError: x"),
        (ControllerError(ActorDiedError()), DIED),
        (unborn("  File b.py\nRuntimeError: CUDA"), "RuntimeError: CUDA"),
        (WorkerCrashedError(), DIED),
        (OutOfMemoryError("x"), "a node ran short of memory, so that Ray ended a worker there"),
        (NodeDiedError("x"), "a node was lost"),
        (ValueError("several\nlines"), "ValueError: several lines"),
    ],
)
def test_an_error_is_told_in_one_line_without_frames(error, words):
    assert plain(error) == words


def test_a_death_that_ray_tells_of_is_told_in_our_words():
    line = (
        "A worker died or was killed while executing a task by an unexpected system error. To troubleshoot "
        "the problem, check the logs for the dead worker. Lease ID: ab Worker ID: cd Node ID: ef Worker IP "
        "address: 10.0.0.7 Worker port: 36531 Worker PID: 26361 Worker exit type: SYSTEM_ERROR"
    )
    assert event(line) == f"{DIED} (process 26361 on 10.0.0.7)"
    assert event("The node is\nfull " + "x" * 999) == f"ray: The node is full {'x' * 283}"


def test_raw_lines_stay_off_the_terminal_and_what_an_operator_sets_is_kept(capfd, monkeypatch):
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    try:
        quieten()
        logging.getLogger("ray.data.exceptions").error("Traceback")
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    with hushed():
        os.write(2, b"PC: @ 0x7f\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
