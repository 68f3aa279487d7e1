"""A small Ray on this machine, alike for all tests but for its size."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def ray_of(cpus: int, gpus: int = 0, megabytes: int = 100) -> Iterator[None]:
    """With so many CPUs and GPUs in its books; one that other tests have started is used as it is."""
    started = not ray.is_initialized()
    if started:
        ray.init(
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=megabytes * 2**20,
        )
    try:
        yield
    finally:
        if started:
            ray.shutdown()
