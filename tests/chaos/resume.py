"""What must be true after a death: the same start again leaves what it leaves when nobody disturbs it."""

from functools import cache

from factory.ledger.run import open_run
from factory.pairs.verify import verify
from factory.storage.protocol import ObjectStore
from schemas.candidate import Verdict
from tests.chaos.command import committed, names, small_world
from tests.chaos.scenarios import FRESH, Scenario, retry
from tests.stub_source import StubSource


@cache
def undisturbed(scenario: Scenario) -> dict[str, object]:
    """What a start leaves that was left in peace."""
    store = scenario.store()
    scenario.start(store, StubSource())
    return scenario.outcome(store)


def assert_resumes(store: ObjectStore, scenario: Scenario = FRESH) -> None:
    """Start again on a store that a death left behind."""
    with small_world():
        rows = committed(store)
    if scenario.start is retry:
        rows = {
            unit: there
            for unit, there in rows.items()
            if any(row.verdict != Verdict.FAILED for row in there)
        }
    source = StubSource()
    scenario.start(store, source)
    assert not names(rows) & set(source.made), "committed candidates were made again"
    assert scenario.outcome(store) == undisturbed(scenario)
    with small_world():
        assert verify(open_run(store)).damages == []
