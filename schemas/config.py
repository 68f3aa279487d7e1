"""What a configuration file may say: the recipe, where it runs, and when to stop."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from schemas.recipe import STAGE_VERSIONS, Recipe
from schemas.record import Record
from schemas.running.pool import Pool


class Compute(Pool):
    """Where and how wide; never changes what is made, at most its last bits."""

    batch_pairs: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = 8
    """Pairs in one denoising batch, four rows each; part of the environment. `auto`: the first worker of a
    run takes the fastest of a few sizes, and all others take the same."""
    decode_pairs: int = Field(2, ge=1, le=4096)
    """Pairs decoded and scored at once; part of the environment."""
    calls_per_worker: int = Field(2, ge=1, le=16)
    """Units that feed one worker's engine at once; 2 keep its batch full at a unit's end."""
    unit_order: Literal["forward", "backward"] = "forward"
    """Order in which open units are scheduled; the dataset does not depend on it."""

    @property
    def calls(self) -> int:
        return self.calls_per_worker

    @property
    def backward(self) -> bool:
        return self.unit_order == "backward"


class Budget(Record):
    """When to stop before the plan is done; null never stops."""

    limit: int | None = Field(None, ge=1)
    """Triplets of the plan to make, from its start, rounded up to whole units."""
    target_pairs: int | None = Field(None, ge=1)
    """Stop once the run holds this many pairs."""
    max_gpu_hours: float | None = Field(None, gt=0)
    """Stop once this start may have used this many GPU-hours (worker-hours on CPUs): `max_workers`
    times its duration, whether or not all of them were there."""
    deadline: datetime | None = None
    """Stop at this time; without a zone it is local."""
    acceptance_floor: float = Field(0.0, ge=0, le=1)
    """Stop when a smaller share of candidates passes, judged after `floor_after`; 0 never stops."""
    floor_after: int = Field(1000, ge=1)
    """Candidates of this start after which the floor is judged, once."""

    @property
    def watches_marks(self) -> bool:
        """Whether `spent` must be asked."""
        return False

    def spent(self, marks: Mapping[str, int]) -> str | None:
        """Why to stop, by the marks of all that the run holds; None to go on."""
        return None


class Config(Record):
    """A whole configuration."""

    recipe: Recipe
    """What is made."""
    compute: Compute = Compute()
    """Where and how wide."""
    budget: Budget = Budget()
    """When to stop."""

    @field_validator("recipe")
    @classmethod
    def _release(cls, recipe: Recipe) -> Recipe:
        if recipe.stage_versions != STAGE_VERSIONS:
            raise ValueError(
                f"stage_versions must be this program's {STAGE_VERSIONS} or left out, got "
                f"{recipe.stage_versions}"
            )
        return recipe
