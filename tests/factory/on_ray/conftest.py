"""One Ray for all of these tests: four CPUs and two GPUs in its books, none of them real."""

import pytest

from tests.factory.engine.family import save_family
from tests.rays import ray_of


@pytest.fixture(scope="session")
def ray_here():
    with ray_of(cpus=4, gpus=2, megabytes=200):
        yield


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("family"))
