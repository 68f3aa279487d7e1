"""What must be true after a death: the same start again leaves what it leaves when nobody disturbs it."""

from functools import cache

from factory.ledger.run import open_run
from factory.ledger.verify.run import verify
from factory.storage.protocol import ObjectStore
from tests.chaos.command import committed, deaf, names, small_world
from tests.chaos.deaths.scenarios import Scenario, retry
from tests.chaos.findings import strays
from tests.chaos.subjects.subject import Name


@cache
def undisturbed(scenario: Scenario) -> dict[str, object]:
    """What a start leaves that was left in peace."""
    store = scenario.store()
    scenario.start(store, deaf)
    return scenario.outcome(store)


def assert_resumes(store: ObjectStore, scenario: Scenario) -> None:
    """Start again on a store that a death left behind."""
    subject = scenario.subject
    with small_world():
        rows = committed(subject, store)
    if scenario.starts is retry:
        by_row = subject.layout.retry == "row"
        for unit, there in rows.items():
            if by_row or all(row.failed for row in there):
                rows[unit] = [row for row in there if not row.failed]
    made: set[Name] = set()
    scenario.start(store, lambda item, index: made.add((item, index)))
    assert not names(rows) & made, "committed outcomes were made again"
    assert scenario.outcome(store) == undisturbed(scenario)
    with small_world():
        run = open_run(store)
        assert verify(run, subject.check).damages == []
        assert list(strays(subject, run)) == []
