"""`generate` at work: over a stub, or with the engine on the miniature."""

from dataclasses import replace
from functools import cached_property, partial
from unittest.mock import patch

from factory.console.config import load_config
from factory.models.pin import pin
from factory.pairs.generate import PairMaker, generate_stage, prepare, triplets_of
from factory.pairs.source import Made, PairSource
from factory.pairs.triplets import TripletList, read_triplets
from factory.verbs.machine import engine
from factory.work.job import run_job
from schemas.arrow import from_parquet
from schemas.config import Budget, Compute, Config
from schemas.ledger.layout import GENERATE
from schemas.pair import Pair
from schemas.recipe import Recipe, Thresholds
from tests import stub_source
from tests.chaos.subjects.subject import Subject, subject_of
from tests.stub_source import StubSource

OPEN = Thresholds(image=-1, text=-1, direction=0)
"""Gates that nearly all pass."""


class Generate(Subject):
    """Over a stub."""

    layout = GENERATE

    @cached_property
    def stage(self):
        return generate_stage(partial(load_pairs, self.work))

    @cached_property
    def recipe(self):
        return self._recipe(**self._fields)

    @property
    def _fields(self):
        fields = {
            "candidates": self.work.outcomes,
            "unit_triplets": 1,
            "run_seed": self.work.number,
        }
        return fields if self.work.gated else fields | {"thresholds": OPEN}

    def _recipe(self, **fields) -> Recipe:
        return stub_source.recipe(**fields)

    def source(self, recipe: Recipe, compute: Compute) -> PairSource:
        """What a worker makes pairs with."""
        return StubSource()

    def terms(self, limit=None):
        compute = {
            "device": "cpu",
            "gpus_per_worker": 0.0,
            "min_workers": 1,
            "max_workers": self.work.workers,
        }
        return Config(recipe=self.recipe, compute=compute, budget=Budget(limit=limit))

    def items(self, count=None):
        return stub_source.triplets(self.work.units if count is None else count)

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
        with (
            patch("factory.pairs.generate.open_store", lambda _: store),
            patch("factory.pairs.generate.pin", lambda recipe: recipe),
        ):
            run, plan = prepare(
                config,
                TripletList(self.items(count)),
                store.uri,
                extend=True,
                retry_failed=retry_failed,
            )
            once_planned(run, plan)
            return run_job(self.stage, run, plan, config, run_with(self.stage))

    def ids(self, items):
        return [triplet.triplet_id for triplet in triplets_of(items)]

    def names(self, items, rows):
        return [(row["triplet_id"], row["index"]) for row in rows]

    def kept_in(self, items, data):
        return [(pair.triplet_id, pair.index) for pair in from_parquet(Pair, data)[0]]

    def heard(self, maker, hear):
        maker.source = HeardSource(maker.source, hear)
        return maker

    def own_maker(self, number, run):
        return PairMaker(self.recipe, OwnSource(number))


class GenerateMiniature(Generate):
    """With the engine."""

    def _recipe(self, **fields):
        # A short sampler makes poor pictures: gates that let some of them through.
        few = {"steps": 4, "thresholds": {"image": 0.6, "text": 0.6, "direction": 0.6}}
        pinned = pin(load_config("miniature").recipe)
        return Recipe.model_validate(pinned.model_dump() | few | fields)

    def source(self, recipe, compute):
        return engine(recipe, compute)

    def items(self, count=None):
        return read_triplets("miniature").triplets[: self.work.units if count is None else count]


def load_pairs(work, run, compute):
    """A worker's maker."""
    return PairMaker(run.recipe, subject_of(work).source(run.recipe, compute))


class HeardSource:
    """Tells of each outcome before it is handed over: what was made, was paid for."""

    def __init__(self, source, hear):
        self.source = source
        self.hear = hear

    def pairs(self, draws):
        for outcome in self.source.pairs(draws):
            self.hear(outcome.draw.triplet.triplet_id, outcome.draw.index)
            yield outcome

    def environment(self):
        return self.source.environment()


class OwnSource(StubSource):
    """A stub whose pictures and scores nobody else makes."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def pairs(self, draws):
        for outcome in super().pairs(draws):
            if not isinstance(outcome, Made):
                yield outcome
                continue
            scores = outcome.scores
            other = scores.model_copy(update={"clip_sim_0": scores.clip_sim_0 + self.number / 1e6})
            yield replace(outcome, scores=other, original=outcome.original ^ (self.number % 251))

    def environment(self):
        return super().environment().model_copy(update={"device": f"stub {self.number}"})
