"""What must be true after a death: the same command again makes the run that nobody disturbed."""

from functools import cache

from factory.ledger.run import open_run
from factory.ledger.verify import verify
from factory.storage.protocol import ObjectStore
from tests.chaos.command import command, committed, content, names, small_world
from tests.chaos.memory_store import MemoryStore
from tests.stub_source import StubSource


@cache
def undisturbed() -> dict[str, object]:
    """The content of a run left in peace."""
    store = MemoryStore()
    assert command(store, StubSource()).exit_code == 0
    with small_world():
        return content(store)


def assert_resumes(store: ObjectStore) -> None:
    """Run the command on a store that a death left behind."""
    with small_world():
        done = names(committed(store))
    source = StubSource()
    assert command(store, source).exit_code == 0
    assert not done & set(source.made), "committed candidates were made again"
    with small_world():
        assert content(store) == undisturbed()
        assert verify(open_run(store)).damages == []
