"""`export` at work on a small sealed run: as it is, or with shards whose bits tell who wrote them."""

import json
from functools import cached_property, partial, wraps
from unittest.mock import patch

from factory.export.export import LAID_OUT, ShardMaker, export_stage
from factory.export.prepare import planned
from factory.export.shards import cut
from factory.export.source import SealedRun
from factory.ledger import keys
from factory.ledger.keys import AROUND, BESIDE
from factory.ledger.manifest import newest_manifest, unit_lines
from factory.ledger.named import intent_of
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, is_begun, open_run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.storage.local import LocalStore
from factory.work.job import begin, run_job
from factory.work.stage import Stage
from schemas.config import Config
from schemas.export import EXPORT, Export, ExportCompute, ExportRecipe, Shard, Verdict
from tests import making
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.editing import stands
from tests.chaos.subjects.subject import Subject
from tests.stub_source import StubSource, recipe, triplets

TAKEN = 3
"""Number of the shard at whose key something else stands."""
LONGEST = 24
"""Shards that a plan may be extended to, of less work."""
SEGMENT_UNITS = 4096
"""Of the source."""
LOST = "data/lost.parquet"
"""Left by an attempt that was lost."""


def whole_segments(function):
    """Read and write the source with segments as they are, whatever the run under test has."""

    @wraps(function)
    def called(self):
        with patch.object(keys, "SEGMENT_UNITS", SEGMENT_UNITS):
            return function(self)

    return called


class ExportShards(Subject):
    """As it is, in Parquet: the run lies in a folder, and each of its triplets is a shard."""

    layout = EXPORT

    @property
    def folder_of_kept(self):
        return f"{AROUND}data/"

    @property
    def anothers(self):
        return {key_of(self.shards[TAKEN]): b"another's"}

    def lay_out(self):
        """Seal the run that is exported."""
        assert self.sealed

    @cached_property
    def store(self):
        return LocalStore(self.folder / "source")

    @cached_property
    @whole_segments
    def sealed(self) -> SealedRun:
        if not is_begun(self.store) or newest_manifest(open_run(self.store)) is None:
            run = create_run(self.store, recipe())
            plan = write_plan(run, triplets(max(LONGEST, self.work.units)), 2)
            config = Config.model_validate({"recipe": recipe()})
            making.run_job(run, plan, config, making.run_here(lambda _: StubSource()))
        run = open_run(self.store)
        return SealedRun(run, read_plan(run), *newest_manifest(run))

    @cached_property
    @whole_segments
    def _planned(self):
        return planned(ExportRecipe(), self.sealed)

    @cached_property
    def recipe(self):
        """Without times, by which the run's processes would make one apart each."""
        found = self._planned[0]
        made = json.loads(found.made) | {"hours": 1.0, "ended": "2026-01-01"}
        return found.model_copy(update={"made": json.dumps(made)})

    @cached_property
    @whole_segments
    def shards(self) -> list[Shard]:
        """One a triplet, under names that a longer list leaves as they are."""
        groups = [one for pair in self.sealed.commits() for one in self.sealed.groups(*pair)]
        found = []
        for number, one in enumerate(groups):
            (shard,) = cut(ExportRecipe(validation=0, test=0), [one])
            name = f"train-{number:05d}-of-{LONGEST:05d}"
            # No sheet of samples, whose letters take longer than all else.
            found.append(shard.model_copy(update={"name": name, "first": number + 1}))
        return found

    @cached_property
    def stage(self) -> Stage:
        return export_stage()

    def terms(self, limit=None):
        compute = ExportCompute(min_workers=self.work.workers, max_workers=self.work.workers)
        return Export(recipe=self.recipe, compute=compute, budget={"limit": limit})

    def items(self, count=None):
        return self.shards[: self.work.units if count is None else count]

    def start(
        self,
        store,
        run_with,
        count=None,
        *,
        retry_failed=False,
        limit=None,
        once_planned=lambda run, plan: None,
    ):
        config = self.terms(limit)
        run, plan = begin(
            EXPORT,
            store,
            lambda: self.recipe,
            self.items(count),
            1,
            extend=True,
            retry_failed=retry_failed,
        )
        once_planned(run, plan)
        return run_job(self.stage, run, plan, config, run_with(self.stage))

    def ids(self, items):
        return [item["name"] for item in items]

    def names(self, items, rows):
        (item,) = self.ids(items)
        return [(item, number) for number, _ in enumerate(rows)]

    def kept(self, run, plan, line):
        """Shards at their keys, whose bytes are those that the unit's outcomes name."""
        rows = whole_commit(run, find_commit(run, plan, line.unit, line)).rows
        return [(row["shard"], 0) for row in rows if row["sha256"] and stands(run, row)]

    def named(self, run):
        newest = newest_manifest(run)
        if newest is None:
            return {}
        plan, named = read_plan(run), {}
        for line in unit_lines(run, newest[1]):
            rows = whole_commit(run, find_commit(run, plan, line.unit, line)).rows
            named |= {r["key"]: r["sha256"] for r in rows if r["verdict"] == Verdict.STORED}
        if not newest[1].partial:
            names = {keys.finish_name(name): name for name in LAID_OUT}
            for one in newest[1].objects:
                named[names[keys.name_of_finish(one.key)]] = one.sha256
        return named

    def litter(self, store):
        super().litter(store)
        lost = intent_of({LOST: b"lost"})
        (one,) = json.loads(lost.bytes)
        store.put(keys.data("export", 1, one["sha256"], "json"), lost.bytes)
        store.around(BESIDE).put(LOST, b"lost")

    def heard(self, maker, hear):
        maker.make = partial(heard_make, maker.make, hear)
        return maker


class ExportStub(ExportShards):
    """With the run in memory, and shards whose bits may be a worker's own: all else is the product's."""

    @cached_property
    def store(self):
        return MemoryStore()

    @cached_property
    def recipe(self):
        found = super().recipe
        source = found.source.model_copy(update={"uri": "memory"})
        return found.model_copy(update={"source": source})

    @cached_property
    def stage(self):
        return Stage(**{**vars(export_stage()), "load": partial(self._load, 0)})

    def own_maker(self, number, run):
        return self._load(number, run)

    def _load(self, number, run, compute=None):
        # Not on a weak store, where the bits of the last writer would stay.
        bits = number % 251 if run.commits == "conditional" else 0
        return NumberedMaker(self.recipe, self.store, number, bits)


class NumberedMaker(ShardMaker):
    """A maker whose shards end with its own bits."""

    def __init__(self, recipe, store, number, bits):
        super().__init__(recipe)
        self.store, self.number, self.bits = store, number, bits

    def make(self, unit, items):
        outcomes = super().make(unit, items)
        own = {key: data + bytes([self.bits]) for key, data in outcomes.objects.items()}
        environment = outcomes.environment.model_copy(
            update={"wheels": {"stub": str(self.number)}, "device": f"stub {self.number}"}
        )
        return type(outcomes)(outcomes.rows, outcomes.tally, environment, objects=own)


def heard_make(make, hear, unit, items):
    """A unit's outcomes; tells of each before they are handed over."""
    for item in items:
        hear(item["name"], 0)
    return make(unit, items)


def key_of(shard: Shard) -> str:
    """Where a shard lies."""
    return f"data/{shard.name}.parquet"
