"""A small dataset, and units of a few rows, on one thread."""

import pytest
import torch

from tests.trainer.encoded import write_dataset


@pytest.fixture(autouse=True)
def _small_and_alone(small_units):
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("pairs"))
