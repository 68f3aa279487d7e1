"""A Ray of three CPUs on this machine, for those who ask for it."""

import logging

import pytest
import ray


@pytest.fixture(scope="module")
def ray_here():
    # Tests of other folders may have started one.
    started = not ray.is_initialized()
    if started:
        ray.init(
            num_cpus=3,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 * 2**20,
        )
    yield
    if started:
        ray.shutdown()
