"""`evaluate` at work on scenes of the miniature: as it is, or with an editor and scores of a few sums."""

from functools import cache, cached_property, partial
from unittest.mock import patch

import numpy as np

from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.work.job import run_job
from schemas.editors import Ip2p
from schemas.edits import EditCompute, EditRecipe, Output
from schemas.evaluation import EVALUATE, Entrant, Evaluation, EvaluationRecipe, HeldOut, Sweep
from tests.chaos.subjects.subject import Subject
from tests.factory.edits.pictures import Inverting
from tests.factory.engine.tiny import save_tiny
from trainer.evaluation import held_out
from trainer.evaluation.held_out import find_tasks
from trainer.evaluation.prepare import pinned, prepare_in, with_digests
from trainer.evaluation.stage import EvaluationMaker, evaluate_stage, items_of, loaded
from trainer.evaluation.studios import Studios

LONGEST = 9
"""Units that a plan may be extended to, of less work."""
SETTINGS = (1.0, 1.5)


class Evaluate(Subject):
    """As it is: a tiny editor of random weights at two settings, CLIP and the oracle."""

    layout = EVALUATE

    @property
    def unit_items(self):
        return self.work.outcomes

    def lay_out(self):
        if not (self.folder / "editor").exists():
            save_tiny(self.folder / "editor", 0, channels=8)

    @cached_property
    def stage(self):
        return evaluate_stage(loaded(None))

    @cached_property
    def recipe(self):
        self.lay_out()
        return pinned(self._recipe(str(self.folder / "editor")))

    def _recipe(self, source) -> EvaluationRecipe:
        edits = EditRecipe(
            ip2p=Ip2p(model={"source": source}, steps=1), size_px=64, output=Output(size="model")
        )
        sweep = Sweep(parameter="image_guidance", values=SETTINGS)
        # Pictures of the longest list at one setting: a longer list goes on with the next of them.
        count = max(LONGEST, self.work.units) * self.unit_items
        recipe = EvaluationRecipe(
            entrants=(Entrant(name="tiny", edits=edits, sweep=sweep),),
            held_out=HeldOut(count=-(-count // len(SETTINGS))),
            clip={"source": "miniature/clip"},
            gates={"image": 0.5, "text": 0.5, "direction": 0.5},
            seed=self.work.number,
            unit_edits=self.unit_items,
        )
        return with_digests(recipe, tasks_of(recipe.held_out.count))

    def terms(self, limit=None):
        compute = EditCompute(
            device="cpu",
            gpus_per_worker=0,
            min_workers=self.work.workers,
            max_workers=self.work.workers,
            threads=1,
        )
        budget = {"limit": limit and limit * self.unit_items}
        return Evaluation(recipe=self.recipe, compute=compute, budget=budget)

    def items(self, count=None):
        units = self.work.units if count is None else count
        every = items_of(self.recipe, tasks_of(self.recipe.held_out.count).tasks)
        return every[: units * self.unit_items]

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
        config, wanted = self.terms(limit), self.items(count)
        tasks = tasks_of(config.recipe.held_out.count)
        with (
            patch("trainer.evaluation.prepare.find_tasks", lambda recipe, known: tasks),
            patch("trainer.evaluation.prepare.pinned", lambda recipe: recipe),
            patch("trainer.evaluation.prepare.items_of", lambda recipe, tasks: wanted),
        ):
            run, plan, _ = prepare_in(store, config, retry_failed=retry_failed, extend=True)
        once_planned(run, plan)
        return run_job(self.stage, run, plan, config, run_with(self.stage))

    def ids(self, items):
        return [held_out.EvaluationItem.model_validate(item).item_id for item in items]

    def names(self, items, rows):
        return [(item, 0) for item, _ in zip(self.ids(items), rows, strict=True)]

    def kept(self, run, plan, line):
        """What the table is made of: the scored outcomes."""
        rows = whole_commit(run, find_commit(run, plan, line.unit, line)).rows
        named = zip(self.names(plan.items(line.unit), rows), rows, strict=True)
        return [name for name, row in named if row["verdict"] == "scored"]

    def heard(self, maker, hear):
        maker.scorer = HeardScorer(maker.scorer, hear)
        maker.make = partial(self._heard_make, maker.make, hear)
        return maker

    def _heard_make(self, make, hear, unit, items):
        """A unit's outcomes; tells of those that were not scored."""
        outcomes = make(unit, items)
        for name, row in zip(self.ids(items), outcomes.rows, strict=True):
            if row.verdict != "scored":
                hear(name, 0)
        return outcomes


class EvaluateStub(Evaluate):
    """With an editor that turns colours round, and scores that are sums: all else is the product's."""

    def lay_out(self):
        """Nothing is read."""

    @cached_property
    def stage(self):
        return evaluate_stage(partial(self._load, 0))

    @cached_property
    def recipe(self):
        return self._recipe("stub")

    def own_maker(self, number, run):
        run = Run(run.store, self.recipe, run.commits, layout=run.layout)
        return self._load(number, run, self.terms().compute)

    def _load(self, number, run, compute):
        scenes, editors = scenes_of(self.recipe.held_out.count), NumberedEditors(number)
        studios = Studios(lambda entrant: editors, lambda: None)
        return EvaluationMaker(run, compute, scenes, studios, Sums(number))


@cache
def tasks_of(count):
    """The first so many."""
    return find_tasks(
        EvaluationRecipe(
            entrants=(Entrant(name="any", edits=EditRecipe(ip2p=Ip2p(model={"source": "any"}))),),
            held_out=HeldOut(count=count),
            clip={"source": "any"},
        )
    )


@cache
def scenes_of(count):
    """Drawn once."""
    return held_out.Scenes(count)


class NumberedEditors(Inverting):
    """Whose environment tells them apart."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def environment(self):
        return super().environment().model_copy(update={"device": f"stub {self.number}"})


class Sums:
    """Scores by the pixels' means, and by a number."""

    def __init__(self, number):
        self.number = number

    def measure(self, item, before, after):
        found = float(np.mean(after)) / 255 + self.number
        shift = round(found + (item.image_guidance or 0), 6)
        names = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image", "l1")
        words = ("edit_done", "rest_kept", "place_kept", "true", "unchanged", "unreadable")
        return {**dict.fromkeys(names, shift), **dict.fromkeys(words, item.number % 2 == 0)}


class HeardScorer:
    """Tells of each edit before it is scored."""

    def __init__(self, scorer, hear):
        self.scorer = scorer
        self.hear = hear

    def measure(self, item, before, after):
        self.hear(item.item_id, 0)
        return self.scorer.measure(item, before, after)
