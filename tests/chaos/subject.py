"""What is made while everything is killed: the stub's small pictures, or the miniature's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from factory.console.config import load_config
from factory.models.pin import pin
from factory.pairs.source import PairSource
from factory.pairs.triplets import read_triplets
from factory.verbs.machine import engine
from schemas.config import Compute
from schemas.recipe import Recipe
from schemas.triplet import Triplet
from tests import stub_source
from tests.making import MakeSource


@dataclass(frozen=True)
class Subject:
    """Recipes, triplets and workers of one kind; one triplet is a unit."""

    recipe: Callable[..., Recipe]
    """Takes the fields in which a run differs."""
    triplets: Callable[[int], list[Triplet]]
    source: MakeSource


def _stub(recipe: Recipe, compute: Compute) -> PairSource:
    return stub_source.StubSource()


def _miniature_recipe(**fields: Any) -> Recipe:
    # A short sampler makes poor pictures: gates that let some of them through.
    few = {"steps": 4, "thresholds": {"image": 0.6, "text": 0.6, "direction": 0.6}}
    pinned = pin(load_config("miniature").recipe)
    return Recipe.model_validate(pinned.model_dump() | few | fields)


def _miniature_triplets(count: int) -> list[Triplet]:
    return read_triplets("miniature").triplets[:count]


SUBJECTS = {
    "stub": Subject(stub_source.recipe, stub_source.triplets, _stub),
    "miniature": Subject(_miniature_recipe, _miniature_triplets, engine),
}
"""By the name on the command line. Without torch, a thousand units are made in a minute."""
