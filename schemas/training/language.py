"""What a training of a language model may be told, and what it stores about itself."""

from typing import Literal

from pydantic import Field

from schemas.recipe import ModelSource
from schemas.record import Record
from schemas.running.pool import Pool


class LanguageAdapter(Record):
    """A LoRA on every linear layer in place of all weights."""

    rank: int = Field(16, ge=1)
    """Columns between the two matrices of a layer."""
    alpha: float | None = Field(None, gt=0)
    """Their product counts alpha / rank times; null is twice the rank."""


class LanguageLaw(Record):
    """Everything that decides the weights, up to the last bits of a device."""

    seed: int = Field(0, ge=0, lt=2**31)
    """Root of the order of lines and of a LoRA's first weights."""
    model: ModelSource
    """A causal language model in transformers' format: `miniature/language`, a folder, `s3://`, or a hub id
    with its revision."""
    lora: LanguageAdapter | None = None
    """Null trains all weights."""
    tokens: int = Field(1024, ge=16)
    """Longest line; longer ones are left out, and counted."""
    steps: int = Field(500, ge=1)
    """Optimiser steps."""
    batch: int = Field(16, ge=1)
    """Lines a step, over all workers and accumulation."""
    learning_rate: float = Field(2e-5, gt=0)
    """AdamW's, at its highest; it falls to 0 along a cosine."""
    warm_up: int = Field(20, ge=0)
    """Steps over which it rises."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` runs the network so by autocast; weights and optimiser stay float32."""


class LanguageWhere(Pool):
    """Where a training runs and how wide."""

    micro_batch: int = Field(8, ge=1)
    """Most lines in one forward; more are accumulated."""
    failures: int = Field(8, ge=-1)
    """Restarts after failures of workers; -1 never gives up."""


class LanguageWatching(Record):
    """What is written while a training runs."""

    report_every: int = Field(20, ge=1)
    """Steps between lines of loss and rate."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between checkpoints."""
    keep: int = Field(2, ge=1)
    """Newest checkpoints that stay."""


class TrainLanguage(Record):
    """A whole configuration of `train-language`."""

    law: LanguageLaw
    """What is learned, and how."""
    compute: LanguageWhere = LanguageWhere()
    """Where and how wide."""
    watching: LanguageWatching = LanguageWatching()
    """What is written meanwhile."""


class LanguageRecord(Record):
    """LANGUAGE.json: whose training a folder holds; written once."""

    version: Literal[1] = 1
    law: LanguageLaw
    """As the first start had it; every start must have the same."""
    lines: str
    """sha256 of the file of lines."""
