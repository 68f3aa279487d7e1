"""Where pairs come from: the one seam between the factory and whatever makes pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from factory.pictures import Picture
from factory.seeds import candidate_seed, uniform
from schemas.candidate import Scores
from schemas.recipe import Recipe
from schemas.running.environment import Environment
from schemas.triplet import Triplet


@dataclass(frozen=True)
class Draw:
    """A candidate before it is made: a triplet, which try, and everything drawn for it."""

    triplet: Triplet
    index: int
    seed: int
    p: float
    guidance: float


@dataclass(frozen=True)
class Made:
    """A candidate with its pictures and scores."""

    draw: Draw
    original: Picture
    edited: Picture
    scores: Scores
    truncated: bool


@dataclass(frozen=True)
class NotMade:
    """A candidate that failed by itself; its batch mates are not touched."""

    draw: Draw
    reason: str
    truncated: bool


class PairSource(Protocol):
    """Makes pairs. Prompt-to-Prompt is the first; anything that gives two pictures can be another."""

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made | NotMade]:
        """One outcome per draw, in any order; may be called from several threads at once."""

    def environment(self) -> Environment:
        """What may change the last bits."""


def draws(recipe: Recipe, triplet: Triplet) -> list[Draw]:
    """All candidates of a triplet, in order; a function of recipe and triplet alone.

    p ~ U(p range) and guidance ~ U(guidance range), independent, as in the original.
    """

    def draw(index: int) -> Draw:
        name = (recipe.run_seed, triplet.triplet_id, index)
        return Draw(
            triplet=triplet,
            index=index,
            seed=candidate_seed(*name),
            p=uniform(*name, "p", *recipe.p),
            guidance=uniform(*name, "guidance", *recipe.guidance),
        )

    return [draw(index) for index in range(recipe.candidates)]
