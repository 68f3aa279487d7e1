"""Trainings on several gloo workers of this machine, without Ray."""

import multiprocessing
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from factory.dataset.files import Place
from factory.storage.open import open_store
from schemas.training.fit import Fit
from tests.trainer.small import begin
from trainer.fit import fit
from trainer.learning.order import Order, StepPair
from trainer.root.training import begun_dataset

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainer.fit", "trainer.root.leader"])


@dataclass(frozen=True)
class Job:
    """One training, or its next few steps."""

    config: Fit
    dataset: str
    out: Path
    steps: int = 10**9
    """Steps after which it is stopped."""


Items = dict[tuple[int, int], StepPair]


def train_on(workers: int, *jobs: Job) -> list[list[Items]]:
    """Train one job after the other on the same workers; what each used in each step and slot, by job."""
    places = [begin(job.config, job.dataset, job.out)[1].files.place for job in jobs]
    with TemporaryDirectory() as folder:
        found = CONTEXT.SimpleQueue()
        started = [
            CONTEXT.Process(
                target=_work, args=(rank, workers, folder, jobs, places, found), daemon=True
            )
            for rank in range(workers)
        ]
        for process in started:
            process.start()
        used = [found.get() for _ in started]
        for process in started:
            process.join()
    failed = [words for words in used if isinstance(words, str)]
    assert not failed, failed[0]
    return [list(one) for one in zip(*used, strict=True)]


def _work(
    rank: int, size: int, folder: str, jobs: tuple[Job, ...], places: list[Place], found
) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting",
            rank=rank,
            world_size=size,
            timeout=timedelta(minutes=5),
        )
        used = [_train(job, place) for job, place in zip(jobs, places, strict=True)]
        dist.destroy_process_group()
    except BaseException as error:
        found.put(f"worker {rank}: {error!r}")
        raise
    found.put(used)


def _train(job: Job, place: Place) -> Items:
    used: Items = {}
    left = iter(range(job.steps))
    item = Order.item

    def note(order: Order, step: int, slot: int, *shares) -> StepPair:
        used[step, slot] = item(order, step, slot, *shares)
        return used[step, slot]

    Order.item = note
    store = open_store(str(job.out))
    try:
        fit(
            job.config,
            begun_dataset(store, place, job.config),
            store,
            say=lambda line: None,
            should_stop=lambda: next(left, None) is None,
        )
    finally:
        Order.item = item
    return used
