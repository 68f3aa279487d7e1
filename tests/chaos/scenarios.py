"""Starts that may die: of a new run, a longer, a failed, a deadly, a part, and of what cleans up.

Each on a store with strong conditional writes and on one where every writer wins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

from factory.errors import ObjectMissing
from factory.ledger.collect import LEAST_HOURS, collect
from factory.ledger.plan import Plan, read_plan, write_plan
from factory.ledger.run import Commits, Run, create_run, open_run
from factory.ledger.strikes import LIMIT, POISON, read_strikes, write_strike
from factory.pairs.source import PairSource
from factory.storage.protocol import ObjectStore
from tests.chaos.actors import WeakStore
from tests.chaos.command import CONFIG, TRIPLETS, command, content, small_world
from tests.chaos.memory_store import MemoryStore
from tests.making import commit_failed, generate_unit
from tests.stub_source import StubSource, triplets

UNIT = 1
"""The one that fails, or kills."""


@dataclass(frozen=True)
class Scenario:
    """What is there before a start, and the start."""

    name: str
    commits: Commits
    begin: Callable[[MemoryStore], None]
    start: Callable[[ObjectStore, PairSource], None]

    def __str__(self) -> str:
        return f"{self.name}, {self.commits}"

    def store(self) -> MemoryStore:
        """A store as the start finds it, each time another."""
        before = _before(self)
        store = type(before)()
        store.objects, store.modified = dict(before.objects), dict(before.modified)
        store.clock = before.clock
        return store

    def outcome(self, store: ObjectStore) -> dict[str, object]:
        """What must be as if nobody had died."""
        with small_world():
            found = content(store)
        if self.start is clean:
            # It makes nothing, so whatever it leaves has the same name each time.
            found["keys"] = [info.key for info in store.list()]
        return found


@cache
def _before(scenario: Scenario) -> MemoryStore:
    store = MemoryStore() if scenario.commits == "conditional" else WeakStore()
    scenario.begin(store)
    return store


def generate(
    store: ObjectStore, source: PairSource, count: int = TRIPLETS, **options: object
) -> None:
    """The command, which must end well."""
    assert command(store, source, count, **options).exit_code == 0


def nothing(store: MemoryStore) -> None:
    """A new run."""


def finished(store: MemoryStore) -> None:
    """A sealed run."""
    generate(store, StubSource())


def failed(store: MemoryStore) -> None:
    """A sealed run with a failed unit."""
    with small_world():
        commits: Commits = "sealed" if isinstance(store, WeakStore) else "conditional"
        run = create_run(store, CONFIG.recipe, commits)
        commit_failed(run, write_plan(run, triplets(TRIPLETS), 1), UNIT, "planted")
    finished(store)


def littered(store: MemoryStore) -> None:
    """A sealed run and what lost attempts left, all of it old."""
    finished(store)
    run = open_run(store)
    plan = read_plan(run)
    store.put("pairs/00000001-0123456789abcdef.parquet", b"lost")
    store.put("manifest/parts/000000-0123456789abcdef.parquet", b"lost")
    store.put("plan/000001/000000-0123456789abcdef.parquet", b"lost")
    if run.commits == "sealed":
        with patch("factory.work.unit.find_commit", side_effect=ObjectMissing("not there yet")):
            generate_unit(run, plan, UNIT, StubSource())
    store.clock += 3600 * (LEAST_HOURS + 1)


def extend(store: ObjectStore, source: PairSource) -> None:
    """A list with two triplets more."""
    generate(store, source, TRIPLETS + 2)


def retry(store: ObjectStore, source: PairSource) -> None:
    """Failed units are made again."""
    generate(store, source, retry_failed=True)


def snapshot(store: ObjectStore, source: PairSource) -> None:
    """Two units, sealed in part."""
    generate(store, source, limit=2)


def give_up(store: ObjectStore, source: PairSource) -> None:
    """A driver that sees a unit kill three workers, as `factory.on_ray.alone`, and makes the rest."""

    def strike(run: Run, plan: Plan) -> None:
        for number in range(len(read_strikes(run.store).get(UNIT, [])), LIMIT):
            write_strike(run.store, UNIT, 0, alone=number == LIMIT - 1, worker="w", node="n")
        commit_failed(run, plan, UNIT, POISON)

    generate(store, source, once_planned=strike)


def clean(store: ObjectStore, _: PairSource) -> None:
    """`gc --delete`."""
    with small_world():
        run = open_run(store)
        collect(run, read_plan(run), delete=True)


STARTS = {
    "fresh": (nothing, generate),
    "extension": (finished, extend),
    "retry": (failed, retry),
    "poison": (nothing, give_up),
    "snapshot": (nothing, snapshot),
    "gc": (littered, clean),
}
SCENARIOS = [
    Scenario(name, commits, *start)
    for commits in ("conditional", "sealed")
    for name, start in STARTS.items()
]
FRESH = SCENARIOS[0]
