"""A group of Ray Train's workers as its driver sees it: started, heard, told to stop, and how it ended."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import Result, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer

from factory.console.say import say
from factory.console.signals import Drain, at_end, unbroken
from factory.errors import EditmillError
from factory.on_ray.rows import ClusterFailed
from factory.on_ray.words import plain, quieten_loggers
from trainer.on_ray.desk import open_desk

LOOK_EVERY_S = 1.0


def run_workers(make_trainer: Callable[[Any, str], TorchTrainer], failures: int) -> Any:
    """What the workers' function returned.

    `make_trainer` gets the desk at which they are heard, and the folder that Ray Train wants; what is kept
    lies elsewhere. SIGTERM has the desk ask the workers to stop. Raises the error that a worker left at the
    desk, `ClusterFailed` where Ray gave up, and `EditmillError` after SIGTERM without workers.
    """
    quieten_loggers()
    desk = open_desk()
    with _scratch_folder() as scratch, Drain() as drain:
        ended = _beside(make_trainer(desk, scratch).fit)
        try:
            while not wait([ended], timeout=LOOK_EVERY_S).done:
                _pass_on(desk)
                if drain.asked and not ray.get(desk.ask_to_stop.remote()):
                    raise EditmillError(
                        "interrupted while it waited for workers; run the same command to resume"
                    )
            _pass_on(desk)
            problem = ray.get(desk.problem.remote())
            if problem is not None:
                raise problem
            return ended.result().return_value
        except WorkerGroupError as error:
            raise ClusterFailed(
                f"workers failed {failures + 1} times, and compute.failures is {failures}; run the same "
                f"command to go on from the newest checkpoint. The last: {_last_words(error)}"
            ) from error
        except (RayError, TrainingFailedError, RuntimeError) as error:
            raise ClusterFailed(f"ray: {plain(error)}") from error
        finally:
            ray.kill(desk)


@contextmanager
def _scratch_folder() -> Iterator[str]:
    """Gone afterwards, also where a signal ends this process."""
    with unbroken():
        scratch = tempfile.TemporaryDirectory(prefix="editmill-train-")
        at_end(partial(shutil.rmtree, scratch.name, ignore_errors=True))
    with scratch as path:
        yield path


def _beside(act: Callable[[], Result]) -> "Future[Result]":
    """Done in a thread, so that signals are heard meanwhile; an interrupt does not wait for it."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _last_words(error: WorkerGroupError) -> str:
    """Of each worker, the kind of its failure first."""
    failures = sorted(error.worker_failures.items())
    return "; ".join(f"worker {rank}: {plain(why)}" for rank, why in failures)


def _pass_on(desk: Any) -> None:
    for line in ray.get(desk.take.remote()):
        say(line)
