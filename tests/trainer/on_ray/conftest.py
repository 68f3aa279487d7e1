"""A Ray of three CPUs, for those who ask for it."""

import pytest

from tests.rays import ray_of


@pytest.fixture(scope="module")
def ray_here():
    with ray_of(cpus=3):
        yield
