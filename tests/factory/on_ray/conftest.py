"""One Ray for all of these tests: four CPUs and two GPUs in its books, none of them real."""

import logging

import pytest
import ray

from tests.factory.engine.family import save_family


@pytest.fixture(scope="session")
def ray_here():
    ray.init(
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=200 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("family"))
