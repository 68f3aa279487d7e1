"""Encoding in units so small that a small dataset has several."""

import pytest

from trainer import encoding


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(encoding, "MOST_ROWS", 3)
    monkeypatch.setattr(encoding, "LEAST_ROWS", 3)
