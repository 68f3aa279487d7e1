"""`fit` on one worker of many, or on the only one: from a dataset to an editor."""

import copy
import importlib.util
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from factory import deeds
from factory.dataset.dataset import Dataset
from factory.dataset.truncation import say_truncation
from factory.engine.checkpoint.load import TextToImage, load_text_to_image
from factory.engine.device import pick_device
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.limit import TextLimit
from factory.errors import ConfigError, RunMismatch
from factory.miniature.world import SIDE_PX
from factory.models.editor import check_source
from factory.models.find import model_folder, placed, placed_parts
from factory.models.pin import pin_text_to_image
from factory.storage.open import open_store
from factory.storage.places import check_store
from factory.storage.protocol import ObjectStore
from schemas.training.fit import Fit, Law
from schemas.training.root import EDITOR
from trainer.feeding.hold_out import hold_out
from trainer.feeding.reader import PictureReader, Reader
from trainer.latents.reader import choose_latents, open_latents
from trainer.latents.slices import latents_law
from trainer.learning.conditions import Conditions
from trainer.learning.editor import widen
from trainer.learning.group import Group, Workplace
from trainer.learning.lora import add_lora, check_targets
from trainer.learning.objective import NUMBERS, Objective
from trainer.learning.order import Order
from trainer.learning.spread import spread
from trainer.learning.state import State
from trainer.loop import Loop
from trainer.root.checkpoint import Checkpoints, steps_in
from trainer.root.leader import Leader, Member, SheetPairs
from trainer.root.training import begin_training, training_dataset
from trainer.watching.opening import opening


@dataclass(frozen=True)
class Fitted:
    """How a training ended."""

    step: int
    """Optimiser steps done."""
    done: bool
    """Whether the editor was written."""
    editor: str
    """Where it lies, or will."""
    bad_rows: int
    """Unreadable rows that were passed over."""


def prepare(
    config: Fit, dataset: str, out: str, say: Callable[[str], None] = print
) -> tuple[Fit, Dataset, ObjectStore]:
    """All that can be refused before anything starts; then `out` holds this training.

    Returns the three with weights pinned, places absolute and opened. Says what the training goes on from,
    and with. Raises `InputError`, and `StorageRefused` where a bucket takes nothing.
    """
    law, compute, watching = config.law, config.compute, config.watching
    if compute.max_workers > law.batch:
        raise ConfigError(
            f"compute.max_workers: must be at most law.batch, got {compute.max_workers} and {law.batch}"
        )
    if watching.wandb is not None and importlib.util.find_spec("wandb") is None:
        raise ConfigError("watching.wandb: needs `pip install wandb`, got none")
    if watching.oracle_edits and law.size_px != SIDE_PX:
        raise ConfigError(
            f"watching.oracle_edits: the oracle reads {SIDE_PX} px pictures of the miniature's world, "
            f"got {law.size_px} px"
        )
    store = open_store(_absolute(out))
    check_store("--out", store)
    law, reading = pin_law(law), config.reading
    check_targets(law)
    limit = TextLimit(placed(law.model, "text_to_image"))
    opened = training_dataset(store, _absolute(dataset), reading, limit)
    for note in opened.files.notes:
        say(note)
    latents = choose_latents(
        reading.latents and _absolute(reading.latents),
        opened.latents,
        latents_law(law, reading.columns, opened.digest),
        say,
    )
    reading = reading.model_copy(update={"latents": latents})
    config = config.model_copy(update={"law": law, "reading": reading})
    begin_training(store, config, opened)
    say_truncation(store, opened, say)
    for line in opening(config, opened, max(steps_in(store), default=0)):
        say(line)
    return config, opened, store


def fit(
    config: Fit,
    dataset: Dataset,
    store: ObjectStore,
    *,
    say: Callable[[str], None] = print,
    group: Group | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    is_leaving: Callable[[], bool] = lambda: False,
    local_rank: int = 0,
) -> Fitted:
    """Train from the newest checkpoint in a begun root, or from the start, and write the editor at the end.

    All workers of a group ask both questions equally often and must get equal answers: `should_stop`
    before each step, and `is_leaving` after it: a node of theirs has notice, so that a checkpoint is
    stored before the next step. Raises `InputError`, `NotFinite`.
    """
    law, group = config.law, group or Group()
    torch.set_num_threads(config.compute.threads)
    device = pick_device(config.compute.device, local_rank)
    if device.type == "cuda":
        # What the group says beside gradients goes by way of the current one.
        torch.cuda.set_device(device)
    parts = load_text_to_image(*placed_parts(law.model, law.autoencoder), NUMBERS[law.dtype])
    network = prepare_network(parts, device)
    if law.lora is not None:
        add_lora(network, law.lora, law.seed)
    shard = config.compute.shard and group.size > 1
    spare = copy.deepcopy(network).to("cpu") if shard and group.leads else None
    spread_network = spread(network, group, shard)
    state = State(network, law, group)
    checkpoints = Checkpoints(store, law.law_hash, dataset.digest, config.watching.keep)
    go_on(state, checkpoints, group, say)
    trained, kept = hold_out(dataset.prompts, config.reading.held_out, config.watching.sheet_pairs)
    rows = [dataset.rows[i] for i in trained]
    order = Order(law.seed, [dataset.prompts[i] for i in trained], rows, law.batch)
    conditions = Conditions(parts.autoencoder.to(device), parts.text)
    parts.text.encoder.to(device)
    reader = open_reader(config, dataset, conditions, list(chain.from_iterable(rows)))
    if config.compute.compile:
        spread_network = torch.compile(spread_network)
    objective = Objective(
        NoiseSchedule.from_config(parts.scheduler), conditions.autoencoder.scaling
    )
    at = Workplace(law, config.compute, device, group)
    loop = Loop(spread_network, state, objective, order, reader, at, config.reading.max_bad)
    member = Member(config, state)
    if group.leads:
        sheet_rows = [dataset.rows[i][0] for i in kept[: config.watching.sheet_pairs]]
        held_out = SheetPairs(dataset, sheet_rows)
        member = Leader(config, state, checkpoints, parts, held_out, say, spare)
    noticed = False
    try:
        with closing(reader), closing(loop.run(law.steps, should_stop)) as reports:
            for report in reports:
                deeds.made()
                urgent = not noticed and is_leaving()
                noticed = noticed or urgent
                member.see(report, urgent)
                if urgent:
                    # Outside of sums: NCCL ends workers that lose a peer in one, and their threads.
                    checkpoints.finish()
        member.finish()
        group.wait()
    finally:
        member.close()
    editor = f"{store.uri}/{EDITOR.rstrip('/')}"
    return Fitted(state.step, state.step >= law.steps, editor, len(reader.bad))


def go_on(
    state: State, checkpoints: Checkpoints, group: Group, say: Callable[[str], None] = print
) -> None:
    """Restore the checkpoint that the leader finds newest, on all workers; say which were passed over.

    Raises `ModelError`, and `RunMismatch` where it is further than the training should come.
    """
    found = checkpoints.newest() if group.leads else None
    for passed, why in sorted(checkpoints.damaged.items()):
        say(f"checkpoint {passed} is damaged and passed over: {why}")
    step = group.share(found[0] if found else None)
    if step is not None:
        if step > state.law.steps:
            # Its weights would be written as the editor of fewer steps.
            raise RunMismatch(
                f"law.steps: must be at least {step}, the newest checkpoint's in "
                f"{checkpoints.store.uri}, got {state.law.steps}"
            )
        state.restore(step, found[1] if found else checkpoints.read(step))


def pin_law(law: Law) -> Law:
    """The law with every file of its models named by its sha256. Raises `ModelError`."""
    folder = model_folder(law.model, "text_to_image")
    if (folder / "unet" / "config.json").is_file():
        check_source(folder)
    model, autoencoder = pin_text_to_image(law.model, law.autoencoder, law.size_px, "law")
    return law.model_copy(update={"model": model, "autoencoder": autoencoder})


def open_reader(
    config: Fit, dataset: Dataset, conditions: Conditions, trained: Sequence[int] | None = None
) -> Reader:
    """Latents where they are named, else pictures; without `trained`, no row is held out.

    Raises `RunMismatch` for another law's latents.
    """
    law, reading = config.law, config.reading
    if reading.latents is None:
        return PictureReader(dataset, law, conditions, trained)
    wanted = latents_law(law, reading.columns, dataset.digest)
    return open_latents(reading.latents, wanted, dataset.index, trained)


def prepare_network(parts: TextToImage, device: torch.device) -> Any:
    """The UNet with the picture's channels, on its device, all of it trained."""
    widen(parts.unet)
    unet = parts.unet.to(device).train()
    unet.requires_grad_(True)
    if device.type == "cpu":
        from diffusers.models.attention_processor import AttnProcessor

        # Going back, torch's fused attention is the slower one on CPUs (docs/log.md).
        unet.set_attn_processor(AttnProcessor())
    return unet


def _absolute(uri: str) -> str:
    return (
        uri if "://" in uri or uri.startswith("file:") else os.path.abspath(os.path.expanduser(uri))
    )
