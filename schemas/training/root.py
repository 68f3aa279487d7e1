"""What a training stores about itself."""

from typing import Any, Literal

from pydantic import Field

from schemas.ledger.commit import StoredObject
from schemas.record import Record
from schemas.training.fit import Columns

RECORD = "FIT.json"
EDITOR = "editor/"
LORA = "lora/"
CHECKPOINTS = "checkpoints/"
"""What lies in a training's root beside checkpoints."""


class TrainingRecord(Record):
    """FIT.json: whose training this root holds; written once."""

    version: Literal[1] = 1
    law: dict[str, Any]
    """The law with pinned weights, as the first start had it."""
    law_hash: str
    """Of the law; every start must have the same."""
    dataset: str
    """sha256 over the dataset's prompts and rows."""
    columns: Columns | None = None
    """`reading.columns`. This and the two below decide which pairs are trained and in which order, so every
    start must have the same; null is a training begun before they were recorded, which any fit."""
    held_out: float | None = None
    """`reading.held_out`."""
    sheet_pairs: int | None = None
    """`watching.sheet_pairs`, which are held out in any case."""


class CheckpointRecord(Record):
    """A checkpoint's commit: written last, so that what it names is whole."""

    version: Literal[1] = 1
    step: int = Field(ge=0)
    """Optimiser steps done."""
    law_hash: str
    """Of the law that made it."""
    dataset: str
    """Of the dataset that made it."""
    files: tuple[StoredObject, ...]
    """Weights, average and optimiser."""


class InstructionsRecord(Record):
    """What a text encoder makes of a dataset's instructions."""

    version: Literal[1] = 1
    instructions: int = Field(ge=0)
    """Different ones."""
    truncated: int = Field(ge=0)
    """Those that are longer than the encoder takes, and are cut."""
    limit: int = Field(ge=1)
    """Tokens that it takes, the two marks included."""
