"""`evaluate`, a stage: held-out pictures edited by each entrant at each setting, and scored at once.

Pictures stay where they are and edits are thrown away: rows of scores are all that a run holds.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np

from factory.dataset.files import Place
from factory.edits.edit import Edited, Editors
from factory.ledger.plan import Row
from factory.ledger.run import Run
from factory.ledger.units.outcomes import Outcomes
from factory.pictures import Picture
from factory.seeds import candidate_seed
from factory.work.stage import Load, Sealing, Stage
from schemas.arrow import rows_to_json
from schemas.edits import NOWHERE, EditCompute, EditEnvironment
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
    """Who scores edits: `trainer.evaluation.scores.Scorer`, or a stand-in."""

    def measure(self, item: EvaluationItem, before: Picture, after: Picture) -> dict[str, Any]: ...


class EvaluationMaker:
    """Edits a unit's pictures and scores them; threads may share it."""

    def __init__(
        self,
        run: Run,
        compute: EditCompute,
        pictures: Pictures,
        editors: Callable[[Entrant], Editors],
        scorer: Measures,
    ) -> None:
        """`editors` gives those of an entrant, the same each time."""
        self.recipe = EvaluationRecipe.known(run.recipe)
        self.compute = compute
        self.pictures = pictures
        self.editors = editors
        self.scorer = scorer

    @property
    def rows_run(self) -> int:
        """As `Metered`."""
        several = [self.editors(entrant) for entrant in self.recipe.entrants]
        return sum(getattr(one, "rows_run", 0) for one in several)

    @property
    def idle_s(self) -> float | None:
        """As `Metered`; where there are several entrants nobody knows when all waited."""
        entrants = self.recipe.entrants
        one = self.editors(entrants[0]) if len(entrants) == 1 else None
        return getattr(one, "idle_s", None)

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
        for place, edited in self._edited(asked, opened):
            rows[place] = self._row(asked[place], opened[place], edited)
        made = [rows[place] for place in range(len(asked))]
        return Outcomes(made, count(EVALUATE, rows_to_json(made)), self._environment(asked))

    def _edited(
        self, asked: Sequence[EvaluationItem], opened: dict[int, Picture]
    ) -> Iterator[tuple[int, Edited]]:
        """Each edit with its place, entrant after entrant."""
        for name in dict.fromkeys(item.entrant for item in asked):
            places = [place for place in opened if asked[place].entrant == name]
            editor = self.recipe.of(name).edits.editor
            wanted = [(asked[place].asked(editor), opened[place]) for place in places]
            for number, edited in self.editors(self.recipe.of(name)).edit(wanted):
                yield places[number], edited

    def _row(self, item: EvaluationItem, before: Picture, edited: Edited) -> EvaluationRow:
        facts = {
            "picture_sha256": hashlib.sha256(np.ascontiguousarray(before).data).hexdigest(),
            "truncated": bool(edited.facts.get("truncated")),
        }
        if edited.picture is None:
            return row_of(item, reason=edited.reason, **facts)
        found = self.scorer.measure(item, before, edited.picture)
        return row_of(item, verdict=Verdict.SCORED, **facts, **found)

    def _environment(self, asked: Sequence[EvaluationItem]) -> EditEnvironment:
        names = dict.fromkeys(item.entrant for item in asked)
        several = [self.editors(self.recipe.of(name)).environment() for name in names]
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
    from factory.edits.studio import Studio
    from trainer.evaluation.scores import Scorer

    studios: dict[str, Editors] = {}

    def editors(entrant: Entrant) -> Editors:
        """Several threads may come here; what one of them made in vain holds nothing yet."""
        if entrant.name not in studios:
            studios.setdefault(entrant.name, Studio(entrant.edits, compute))
        return studios[entrant.name]

    pictures = open_pictures(run, place, compute.most_pixels)
    return EvaluationMaker(
        run, compute, pictures, editors, Scorer(EvaluationRecipe.known(run.recipe), compute)
    )


def loaded(place: Place | None) -> Load:
    """What workers load for a run of this held-out set."""
    return partial(load_maker, place)


def items_of(recipe: EvaluationRecipe, tasks: Sequence[Task]) -> list[EvaluationItem]:
    """All edits in order: entrant by entrant, setting by setting, so that a batch is of one kind."""
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
        for point in entrant.points
        for attempt in range(recipe.attempts)
        for task in tasks
    ]


def seed_of(recipe: EvaluationRecipe, task: Task, attempt: int) -> int:
    """The root of an attempt's noise: the same for all editors and settings, so that they compare.

    The first's is the picture's number, as training's sheets have it.
    """
    if attempt == 0 and recipe.seed == 0:
        return task.number
    return candidate_seed(recipe.seed, f"evaluate {task.number}", attempt)
