"""What a chain file may say, and what a chain leaves in its root about itself."""

import re
from typing import Literal

from pydantic import Field, field_validator

from schemas.record import Record

ROOT = "root"
"""What `${root}` means in a step's command; no step may be called so."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
"""Of a step: a folder below the root is called so."""
MOST_STEPS = 50


class ChainFile(Record):
    """A chain file: commands that are run in turn, each of which resumes."""

    root: str = Field(min_length=1)
    """A folder or s3://bucket/prefix; a step's results lie below it unless it says otherwise."""
    cluster: str | None = None
    """A cluster file (relative to this one) or `local`: the chain runs there as one job; null: here."""
    steps: dict[str, str] = Field(min_length=1, max_length=MOST_STEPS)
    """Name of a step to what follows `editmill` on a command line, in the order in which they run."""

    @field_validator("steps")
    @classmethod
    def _names(cls, steps: dict[str, str]) -> dict[str, str]:
        for name in steps:
            if not NAME.fullmatch(name) or name == ROOT:
                raise ValueError(
                    f"{name}: a step's name must be letters (a-z), digits and - and not `{ROOT}`, got "
                    f"{name!r}"
                )
        return steps


class ChainStep(Record):
    """A step as it is run."""

    name: str
    words: tuple[str, ...]
    """The verb and its options, places filled in."""
    out: str | None
    """Where its results go; null for a verb without such a place."""
    identity_hash: str
    """Of its words and of the steps whose results it takes: what is done under it stays done."""


class GivenChain(Record):
    """A chain whose places are filled in, as it is sent to a cluster."""

    root: str
    steps: tuple[ChainStep, ...]


class ChainStart(Record):
    """`_chain/starts/<n>.json`: a start of the chain, written before its first step."""

    version: Literal[1] = 1
    began: str
    """ISO time, UTC."""
    steps: tuple[ChainStep, ...]


class StepEnd(Record):
    """`_chain/ends/<n>-<step>.json`: how a step ended in a start; `_chain/done/<hash>.json`: it is done."""

    version: Literal[1] = 1
    name: str
    exit_code: int
    seconds: float
    ended: str
    """ISO time, UTC."""
    start: int
    """In which start."""
