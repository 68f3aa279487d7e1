"""Histories of the ledger, drawn by hypothesis, against a dictionary; of every stage."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from factory.errors import Damaged
from factory.ledger.run import Run
from factory.ledger.units import commits
from factory.work.unit import make_unit
from tests.chaos.histories.machine import LedgerMachine, WeakLedgerMachine
from tests.chaos.stores.passing_store import PassingStore
from tests.chaos.subjects.subject import STAGES, small

HISTORIES = {stage: 40 if stage == "generate" else 4 for stage in STAGES}
"""The ledger is one, and what a unit of the others takes is some four times as long; EDITMILL_HISTORIES
asks for more.
"""
DATALESS = ("evaluate", "captions")
"""Whose outcomes are all that there is."""
OFTEN = ("generate", "edit")
"""With which CI sees the model find what it must: data by content, data at keys of their own."""


def those(stages):
    return [
        pytest.param(stage, marks=() if stage in OFTEN else pytest.mark.slow) for stage in stages
    ]


UNTIL_THE_FIRST = {
    "derandomize": True,
    "phases": [Phase.generate],
    "report_multiple_bugs": False,
}
"""Failure, which is not made smaller."""


def try_histories(stage, machine, count, **more):
    class Machine(machine):
        subject = small(stage, gated=False, outcomes=3)

    wanted = settings(
        max_examples=count,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    run_state_machine_as_test(Machine, settings=wanted)


@pytest.mark.long
@pytest.mark.parametrize("machine", [LedgerMachine, WeakLedgerMachine])
@pytest.mark.parametrize("stage", STAGES)
def test_ledger_is_what_a_dictionary_says(stage, machine):
    wanted = os.environ.get("EDITMILL_HISTORIES")
    try_histories(stage, machine, int(wanted or HISTORIES[stage]), derandomize=wanted is None)


@pytest.mark.long
@pytest.mark.parametrize("stage", those(stage for stage in STAGES if stage not in DATALESS))
def test_commit_before_its_data_is_found(stage, monkeypatch):
    whole = commits.write_commit

    def too_early(run, *arguments):
        late = LateData(run)
        won = whole(late.run, *arguments)
        late.arrive()
        return won

    monkeypatch.setattr("factory.work.unit.write_commit", too_early)
    # As the model says, or whoever seals in the end.
    with pytest.raises((AssertionError, Damaged), match=r"before its data|bytes, got none"):
        try_histories(stage, LedgerMachine, 20, **UNTIL_THE_FIRST)


class LateData(PassingStore):
    """Data are stored after the commit that names them."""

    def __init__(self, run):
        super().__init__(run.store)
        self.run = Run(self, run.recipe, run.commits, layout=run.layout)
        self.data = {}

    def put(self, key, data):
        self.data[key] = data

    def arrive(self):
        for key, data in self.data.items():
            self.inner.put(key, data)


@pytest.mark.long
@pytest.mark.parametrize("stage", those(STAGES))
def test_unit_that_is_made_although_it_is_committed_is_found(stage, monkeypatch):
    def hasty(run, plan, unit, maker):
        maker.make(unit, plan.items(unit))
        return make_unit(run, plan, unit, maker)

    monkeypatch.setattr("tests.chaos.histories.machine.make_unit", hasty)
    with pytest.raises(AssertionError, match="was made again"):
        try_histories(stage, LedgerMachine, 20, **UNTIL_THE_FIRST)
