"""`evaluate`, a stage: held-out pictures edited by each entrant at each setting, and scored at once.

Pictures stay where they are and edits are thrown away: rows of scores are all that a run holds.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice, product
from typing import Any, Protocol

import numpy as np

from factory.dataset.files import Place
from factory.edits.edit import Edited
from factory.edits.first_pictures import MOST, TRIED
from factory.ledger.plan import Row, read_plan
from factory.ledger.run import Run
from factory.ledger.units.outcomes import Outcomes
from factory.pictures import Picture
from factory.seeds import candidate_seed
from factory.work.stage import Load, Sealing, Stage
from schemas.arrow import rows_to_json
from schemas.editors import P2p, Pnp
from schemas.edits import NOWHERE, EditCompute, EditEnvironment, EditItem
from schemas.evaluation import (
    EVALUATE,
    Entrant,
    EvaluationItem,
    EvaluationRecipe,
    EvaluationRow,
    Verdict,
)
from schemas.ledger.tally import count
from trainer.evaluation.held_out import Pictures, Task, Unreadable, open_pictures
from trainer.evaluation.report import finish
from trainer.evaluation.studios import Studios

WHEELS = ("editmill", "open_clip_torch")
"""Besides those of the editors."""


def evaluate_stage(load: Load) -> Stage:
    """The stage; `load` makes what workers edit and score with."""
    return Stage(
        layout=EVALUATE,
        load=load,
        fail=fail_edits,
        sealing=Sealing(finish=finish),
        advice="`reason` in the commits says why of each",
    )


class Measures(Protocol):
    """Who scores edits: `trainer.evaluation.measures.scores.Scorer`, or a stand-in."""

    def measure(self, item: EvaluationItem, before: Picture, after: Picture) -> dict[str, Any]: ...


class EvaluationMaker:
    """Edits a unit's pictures and scores them; threads may share it."""

    def __init__(
        self,
        run: Run,
        compute: EditCompute,
        pictures: Pictures,
        studios: Studios,
        scorer: Measures,
    ) -> None:
        self.recipe = EvaluationRecipe.known(run.recipe)
        self.compute = compute
        self.pictures = pictures
        self.studios = studios
        self.scorer = scorer

    @property
    def rows_run(self) -> int:
        """As `Metered`."""
        return self.studios.rows_run

    @property
    def idle_s(self) -> float | None:
        """As `Metered`; where there are several entrants nobody knows when all waited."""
        return self.studios.idle_s if len(self.recipe.entrants) == 1 else None

    def close(self) -> None:
        self.pictures.close()

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The scores of these edits; one that cannot be made is a failed outcome."""
        asked = [EvaluationItem.model_validate(row) for row in items]
        rows: dict[int, EvaluationRow] = {}
        opened: dict[int, Picture] = {}
        for place, item in enumerate(asked):
            try:
                opened[place] = self.pictures.open(item)
            except Unreadable as error:
                rows[place] = row_of(item, reason=str(error))
        environments: list[EditEnvironment] = []
        for name in dict.fromkeys(item.entrant for item in asked):
            places = [place for place in opened if asked[place].entrant == name]
            entrant = self.recipe.of(name)
            wanted = [(asked[at].asked(entrant.edits.editor), opened[at]) for at in places]
            with self.studios.of(entrant) as editors:
                for number, edited in editors.edit(wanted):
                    place = places[number]
                    rows[place] = self._row(asked[place], opened[place], edited)
                environments.append(editors.environment())
                # Let go of before another entrant's are loaded.
                del editors
        made = [rows[place] for place in range(len(asked))]
        return Outcomes(made, count(EVALUATE, rows_to_json(made)), _joined(environments))

    def _row(self, item: EvaluationItem, before: Picture, edited: Edited) -> EvaluationRow:
        facts = {
            "picture_sha256": hashlib.sha256(np.ascontiguousarray(before).data).hexdigest(),
            "truncated": bool(edited.facts.get("truncated")),
        }
        if edited.picture is None:
            return row_of(item, reason=edited.reason, **facts)
        found = self.scorer.measure(item, before, edited.picture)
        return row_of(item, verdict=Verdict.SCORED, **facts, **found)


def _joined(several: Sequence[EditEnvironment]) -> EditEnvironment:
    """Of a unit's entrants and its scores."""
    wheels = {name: found for each in several for name, found in each.wheels.items()}
    wheels |= {name: _version(name) for name in WHEELS}
    batching = next((each.batching for each in several if each.batching), None)
    return several[0].model_copy(update={"wheels": wheels, "batching": batching})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def row_of(item: EvaluationItem, **facts: Any) -> EvaluationRow:
    """What is said of an edit; failed unless another verdict is."""
    shared = EvaluationRow.model_fields.keys() & EvaluationItem.model_fields.keys()
    fields = dict.fromkeys(EvaluationRow.model_fields) | {"truncated": False}
    fields |= {name: getattr(item, name) for name in shared} | {"verdict": Verdict.FAILED}
    return EvaluationRow(**(fields | facts))


def fail_edits(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """All of these edits as failed."""
    rows = [row_of(EvaluationItem.model_validate(row), reason=reason) for row in items]
    return Outcomes(rows, count(EVALUATE, rows_to_json(rows)), NOWHERE)


def load_maker(place: Place | None, run: Run, compute: EditCompute) -> EvaluationMaker:
    """What a worker evaluates with: torch only here. `place` is where a dataset lies."""
    import torch

    from factory.edits.studio import Studio
    from trainer.evaluation.measures.scores import Scorer

    pictures = open_pictures(run, place, compute.most_pixels)

    def make(entrant: Entrant) -> Studio:
        return Studio(entrant.edits, compute, partial(first_pictures, run, pictures, entrant))

    studios = Studios(make, torch.cuda.empty_cache)
    scorer = Scorer(EvaluationRecipe.known(run.recipe), compute)
    return EvaluationMaker(run, compute, pictures, studios, scorer)


def first_pictures(
    run: Run, pictures: Pictures, entrant: Entrant
) -> list[tuple[EditItem, Picture]]:
    """The run's first pictures for an entrant, by which a pipeline's calls for several are compared."""
    plan, found = read_plan(run), list[tuple[EditItem, Picture]]()
    items = (EvaluationItem.model_validate(row) for row in plan.all_items())
    for item in islice((one for one in items if one.entrant == entrant.name), MOST + TRIED):
        with suppress(Unreadable):
            found.append((item.asked(entrant.edits.editor), pictures.open(item)))
        if len(found) == MOST:
            break
    return found


def loaded(place: Place | None) -> Load:
    """What workers load for a run of this held-out set."""
    return partial(load_maker, place)


def items_of(recipe: EvaluationRecipe, tasks: Sequence[Task]) -> list[EvaluationItem]:
    """All edits in order: entrant by entrant, setting by setting, so that a batch is of one kind; of one
    that inverts pictures picture by picture, so that a unit's edits share their inversions.
    """
    return [
        EvaluationItem(
            entrant=entrant.name,
            **point,
            number=task.number,
            picture=task.picture,
            attempt=attempt,
            seed=seed_of(recipe, task, attempt),
            kind=task.kind,
            instruction=task.instruction,
            source_caption=task.source_caption,
            target_caption=task.target_caption,
        )
        for entrant in recipe.entrants
        for point, attempt, task in _asked(entrant, recipe.attempts, tasks)
    ]


def _asked(
    entrant: Entrant, attempts: int, tasks: Sequence[Task]
) -> Iterator[tuple[dict[str, float | None], int, Task]]:
    if isinstance(entrant.settings, P2p | Pnp):
        for task, point, attempt in product(tasks, entrant.points, range(attempts)):
            yield point, attempt, task
    else:
        yield from product(entrant.points, range(attempts), tasks)


def seed_of(recipe: EvaluationRecipe, task: Task, attempt: int) -> int:
    """The root of an attempt's noise: the same for all editors and settings, so that they compare.

    The first's is the picture's number, as training's sheets have it.
    """
    if attempt == 0 and recipe.seed == 0:
        return task.number
    return candidate_seed(recipe.seed, f"evaluate {task.number}", attempt)
