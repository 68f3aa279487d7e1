"""Encoding in units so small that a small dataset has several; an S3 emulator."""

import pytest

from tests.factory.storage.conftest import moto, moto_bucket
from trainer.latents import encoding

__all__ = ["moto", "moto_bucket"]


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(encoding, "MOST_ROWS", 3)
    monkeypatch.setattr(encoding, "LEAST_ROWS", 3)
