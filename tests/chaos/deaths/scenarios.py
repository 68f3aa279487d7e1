"""Starts that may die: of a new run, a longer, a failed, a deadly, a part, and of what cleans up.

Each on a store with strong conditional writes and on one where every writer wins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from factory.ledger.collect import LEAST_HOURS, collect
from factory.ledger.plan import Plan, read_plan, write_plan
from factory.ledger.run import Commits, Run, create_run, open_run
from factory.ledger.units.strikes import LIMIT, POISON, read_strikes, write_strike
from factory.storage.protocol import ObjectStore
from factory.work.unit import fail_unit, make_unit
from tests.chaos.command import command, content, deaf, in_ignorance, small_world
from tests.chaos.histories.actors import WeakStore
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.subject import STAGES, Hear, Own, Subject, small

UNIT = 1
"""The one that fails, or kills."""
COMMITS: tuple[Commits, ...] = ("conditional", "sealed")


Begin = Callable[[Subject, MemoryStore], None]
Start = Callable[[Subject, ObjectStore, Hear], None]


@dataclass(frozen=True)
class Scenario:
    """What is there before a start, and the start."""

    stage: str
    name: str
    commits: Commits
    begins: Begin
    starts: Start

    def __str__(self) -> str:
        return f"{self.stage}, {self.name}, {self.commits}"

    @property
    def subject(self) -> Subject:
        """The stage at little work."""
        return small(self.stage)

    def start(self, store: ObjectStore, hear: Hear) -> None:
        """`hear` is told of each outcome while it is made."""
        self.starts(self.subject, store, hear)

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
            found = content(self.subject, store)
        if self.starts is clean:
            # It makes nothing, so whatever it leaves has the same name each time.
            found["keys"] = [info.key for info in store.list()]
        return found


@cache
def _before(scenario: Scenario) -> MemoryStore:
    store = MemoryStore() if scenario.commits == "conditional" else WeakStore()
    scenario.subject.surround(store)
    scenario.begins(scenario.subject, store)
    return store


def make(
    subject: Subject,
    store: ObjectStore,
    hear: Hear = deaf,
    count: int | None = None,
    **options: object,
) -> None:
    """The command, which must end well."""
    assert command(subject, store, hear, count, **options).exit_code == 0


def nothing(subject: Subject, store: MemoryStore) -> None:
    """A new run."""


def finished(subject: Subject, store: MemoryStore) -> None:
    """A sealed run."""
    make(subject, store)


def failed(subject: Subject, store: MemoryStore) -> None:
    """A sealed run with a failed unit."""
    with small_world():
        commits: Commits = "sealed" if isinstance(store, WeakStore) else "conditional"
        run = create_run(store, subject.recipe, commits, subject.layout)
        plan = write_plan(run, subject.items(), subject.unit_items)
        fail_unit(subject.stage, run, plan, UNIT, "planted")
    finished(subject, store)


def littered(subject: Subject, store: MemoryStore) -> None:
    """A sealed run and what lost attempts left, all of it old."""
    finished(subject, store)
    run = open_run(store)
    plan = read_plan(run)
    subject.litter(store)
    store.put("manifest/parts/000000-0123456789abcdef.parquet", b"lost")
    store.put("plan/000001/000000-0123456789abcdef.parquet", b"lost")
    if run.commits == "sealed":
        with in_ignorance():
            make_unit(run, plan, UNIT, Own(subject, 0).load(run))
    store.clock += 3600 * (LEAST_HOURS + 1)


def extend(subject: Subject, store: ObjectStore, hear: Hear) -> None:
    """A list with two units more."""
    make(subject, store, hear, subject.work.units + 2)


def retry(subject: Subject, store: ObjectStore, hear: Hear) -> None:
    """Failed units are made again."""
    make(subject, store, hear, retry_failed=True)


def snapshot(subject: Subject, store: ObjectStore, hear: Hear) -> None:
    """Two units, sealed in part."""
    make(subject, store, hear, limit=2)


def give_up(subject: Subject, store: ObjectStore, hear: Hear) -> None:
    """A driver that sees a unit kill three workers, as `factory.on_ray.alone`, and makes the rest."""

    def strike(run: Run, plan: Plan) -> None:
        for number in range(len(read_strikes(run.store).get(UNIT, [])), LIMIT):
            write_strike(run.store, UNIT, 0, alone=number == LIMIT - 1, worker="w", node="n")
        fail_unit(subject.stage, run, plan, UNIT, POISON)

    make(subject, store, hear, once_planned=strike)


def clean(subject: Subject, store: ObjectStore, hear: Hear) -> None:
    """`gc --delete`."""
    with small_world():
        run = open_run(store)
        collect(run, read_plan(run), delete=True)


STARTS: dict[str, tuple[Begin, Start]] = {
    "fresh": (nothing, make),
    "extension": (finished, extend),
    "retry": (failed, retry),
    "poison": (nothing, give_up),
    "snapshot": (nothing, snapshot),
    "gc": (littered, clean),
}
SCENARIOS = [
    Scenario(stage, name, commits, *start)
    for stage in STAGES
    for commits in COMMITS
    for name, start in STARTS.items()
]
FRESH = {
    one.stage: one for one in SCENARIOS if one.name == "fresh" and one.commits == "conditional"
}
"""By stage."""
