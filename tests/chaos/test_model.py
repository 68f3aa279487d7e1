"""Thousands of histories of the ledger, drawn by hypothesis, against a dictionary."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.chaos.machine import LedgerMachine, WeakLedgerMachine

SETTINGS = settings(
    max_examples=int(os.environ.get("EDITMILL_HISTORIES", "40")),
    stateful_step_count=40,
    deadline=None,
    derandomize="EDITMILL_HISTORIES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.long
class TestLedger(LedgerMachine.TestCase):
    settings = SETTINGS


@pytest.mark.long
class TestLedgerOnWeakStore(WeakLedgerMachine.TestCase):
    settings = SETTINGS
