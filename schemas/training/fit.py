"""What a training configuration may say: the law, where it runs, what is watched."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.canonical import content_hash
from schemas.recipe import ModelSource
from schemas.record import Record
from schemas.running.pool import Pool


class Columns(Record):
    """Names of a dataset's columns; the defaults are the published mirror's and ours."""

    original_image: str = "original_image"
    """Picture before."""
    edit_prompt: str = "edit_prompt"
    """The instruction."""
    edited_image: str = "edited_image"
    """Picture after."""
    original_prompt: str = "original_prompt"
    """Caption before; rows that share both captions and the instruction are one prompt's pairs.
    A dataset without captions groups by instruction and nothing else is needed."""
    edited_prompt: str = "edited_prompt"
    """Caption after; see above."""


class Dropout(Record):
    """Shares of items that lose a condition, from one draw each; they sum to 1 at most."""

    text: float = Field(0.05, ge=0, le=1)
    """Instruction replaced by the empty one."""
    both: float = Field(0.05, ge=0, le=1)
    """Instruction and image."""
    image: float = Field(0.05, ge=0, le=1)
    """Image replaced by a latent of zeros."""

    @model_validator(mode="after")
    def _sum(self) -> "Dropout":
        if self.text + self.both + self.image > 1:
            raise ValueError("text, both and image must sum to 1 at most")
        return self


class Adapter(Record):
    """A LoRA in place of all weights; the input layer, which sees the picture, is trained as well."""

    rank: int = Field(16, ge=1)
    """Columns between the two matrices of a layer."""
    alpha: float | None = Field(None, gt=0)
    """Their product counts alpha / rank times; null is the rank."""
    targets: tuple[str, ...] = Field(("to_q", "to_k", "to_v", "to_out.0"), min_length=1)
    """Parts of the names of the UNet's layers, e.g. `to_q`, `attn2.to_k`, `ff`, `mid_block`; the
    default is attention."""


class Law(Record):
    """Everything that decides the weights, up to the last bits of a device."""

    LATER: ClassVar[Mapping[str, Any]] = {"lora": None}
    seed: int = Field(0, ge=0, lt=2**63)
    """Root of every draw: order, pair, flip, dropout, timestep, noise, a LoRA's first weights."""
    model: ModelSource
    """A text-to-image model, whose UNet gets the new input channels, or an editor to go on with."""
    autoencoder: ModelSource | None = None
    """Another autoencoder in place of the built-in one; null keeps it."""
    lora: Adapter | None = None
    """Null trains all weights of the UNet."""
    size_px: int = Field(256, ge=8, le=4096)
    """Side of the square pictures, or the side of a square of a bucket's area; a multiple of the
    autoencoder's factor."""
    buckets: bool = False
    """False resizes every pair to the square, as the original; True keeps its aspect, rounded to
    buckets of about equal area."""
    flip: float = Field(0.5, ge=0, le=1)
    """Chance that a pair is mirrored, both pictures alike. Instructions that say left or right
    are not rewritten: datasets that hold such should set 0."""
    dropout: Dropout = Dropout()
    """Conditions that are dropped, for classifier-free guidance."""
    steps: int = Field(10_000, ge=1)
    """Optimiser steps; without a cool-down a later start may name more, never fewer than are done."""
    batch: int = Field(1024, ge=1)
    """Pairs per optimiser step, over all workers and accumulation."""
    learning_rate: float = Field(1e-4, gt=0)
    """AdamW's, constant after the warm-up."""
    warm_up: int = Field(0, ge=0)
    """Optimiser steps of linear warm-up."""
    cool_down: float = Field(0.0, ge=0, le=1)
    """Share of the steps, at the end, over which the rate falls to 0; the original has none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of a step's gradient; null never clips, as the original. diffusers' script: 1.0."""
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    """Of the moving average, once per optimiser step. The original's is once per micro-batch: the same law
    up to 22,498 steps, a longer memory after."""
    dtype: Literal["float64", "float32", "bfloat16"] = "float32"
    """`bfloat16` runs the network so by autocast; weights, loss, optimiser and the frozen networks stay
    float32. The original trains in float32; diffusers' script rounds the frozen networks too."""

    @model_validator(mode="after")
    def _shares(self) -> "Law":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be within 0..1, got {list(self.betas)}")
        return self

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        if not self.cool_down:
            # A longer training goes on where the shorter one stopped.
            del plain["steps"]
        return plain

    @property
    def law_hash(self) -> str:
        """sha256 of the identity, 64 hex digits."""
        return content_hash(self.identity())


class Where(Pool):
    """Where a training runs and how wide; changes the last bits at most.

    With fewer than `min_workers` there it waits; `max_workers` are at most the batch, and fewer may come
    up as nodes come and go. CPU workers talk through gloo.
    """

    shard: bool = False
    """Cut gradients, average and the optimiser's moments over the workers (FSDP2), for networks that
    would not fit; checkpoints stay the same. False leaves each worker all of them."""
    micro_batch: int = Field(32, ge=1)
    """Pairs in one forward; more pairs per worker are accumulated."""
    compile: bool = False
    """Run the network through torch.compile."""
    loaders: int = Field(2, ge=1, le=64)
    """Threads that decode pictures ahead of the step."""
    failures: int = Field(8, ge=-1)
    """Restarts after failures of workers; preemptions are not counted, -1 never gives up."""


class Sampler(Record):
    """How pictures are edited."""

    steps: int = Field(20, ge=1, le=1000)
    """Of Euler ancestral."""
    text_guidance: float = Field(7.5, ge=0)
    """How strongly the instruction is followed."""
    image_guidance: float = Field(1.5, ge=0)
    """How strongly the picture is kept."""


class Watching(Record):
    """What is written while a training runs."""

    report_every: int = Field(50, ge=1)
    """Optimiser steps between lines of loss, rate and speed."""
    checkpoint_every: int = Field(500, ge=1)
    """Optimiser steps between checkpoints."""
    keep: int = Field(3, ge=2)
    """Newest checkpoints that stay."""
    sheet_every: int = Field(2000, ge=0)
    """Optimiser steps between sheets of edits, in `sheets/` and wherever figures go; 0 makes none."""
    sheet_pairs: int = Field(8, ge=1, le=64)
    """Pairs on the sheet, the same every time, held out of training; so every start must name as many."""
    oracle_edits: int = Field(0, ge=0, le=1000)
    """Edits with each sheet that the oracle of the miniature's world judges; 0 for any other world."""
    sampler: Sampler = Sampler()
    """Of these edits, and of `evaluate`'s."""
    tensorboard: bool = True
    """Event files beside the checkpoints, in `tensorboard/`; in S3 as they were at the newest one."""
    wandb: str | None = None
    """A project of Weights & Biases, where all starts of a training are one run, and the law its
    configuration; null writes none. Its key comes from the environment. Where it is not reached, a training
    goes on without it."""


class Reading(Record):
    """How a dataset is read."""

    columns: Columns = Columns()
    """What its columns are called; the same for every start of a training."""
    files: str | None = None
    """Of a folder of Parquet files, those whose names below it match this pattern, such as `train-*`; null
    takes all, and refuses a folder that holds several splits. A sealed run says itself what counts."""
    latents: str | None = None
    """Where `encode` left this dataset's latents; null takes those in its folder's `latents`, and where
    there are none encodes pictures as they are needed. Changes the last bits at most."""
    held_out: float = Field(0.0, ge=0, lt=1)
    """Share of prompts kept from training, by hash; the sheet's pairs are held out in any case. The same
    for every start of a training."""
    max_bad: int = Field(0, ge=0)
    """Rows with unreadable pictures that are skipped and counted before the training is refused."""


class Fit(Record):
    """A whole training configuration."""

    law: Law
    """What is trained."""
    reading: Reading = Reading()
    """How the dataset is read."""
    compute: Where = Where()
    """Where and how wide."""
    watching: Watching = Watching()
    """What is written meanwhile."""
