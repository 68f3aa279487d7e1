"""Encoding in units so small that a small dataset has several; an S3 emulator."""

import pytest

from tests.factory.storage.conftest import moto, moto_bucket
from trainer.latents import slices

__all__ = ["moto", "moto_bucket"]


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(slices, "MOST_ROWS", 3)
    monkeypatch.setattr(slices, "LEAST_ROWS", 3)
