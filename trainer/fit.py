"""`fit` on one worker of many, or on the only one: from a dataset to an editor."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerAncestralDiscreteScheduler

from factory.engine.checkpoint import TextToImage, load_text_to_image
from factory.engine.editor import Editor
from factory.engine.schedule import NoiseSchedule
from factory.errors import ConfigError
from factory.pinning import pin_text_to_image
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from schemas.fit import Fit, Law
from trainer.checkpoint import Checkpoints
from trainer.conditions import Conditions
from trainer.editor import widen, write_editor
from trainer.group import Group, pick_device
from trainer.hold_out import hold_out
from trainer.loop import NUMBERS, Loop
from trainer.objective import Objective
from trainer.order import Order
from trainer.pairs import Pairs, open_pairs
from trainer.reader import PictureReader
from trainer.sheet import edit_sheet
from trainer.state import State
from trainer.training import EDITOR, begin_training, store_folder
from trainer.watch import Watch


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
    """Rows that this worker skipped."""


def fit(
    config: Fit,
    dataset: str,
    out: str,
    *,
    group: Group | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    is_leaving: Callable[[], bool] = lambda: False,
    wrap: Callable[[Any], Any] = lambda network: network,
    local_rank: int = 0,
) -> Fitted:
    """Train from the newest checkpoint in `out`, or from the start, and write the editor at the end.

    `wrap` spreads the network over a group; `is_leaving`, asked by all workers after each step, says that
    a node of theirs has notice, and has a checkpoint written at once. Raises `InputError`, `NotFinite`.
    """
    law, group = config.law, group or Group()
    if law.batch % group.size:
        raise ConfigError(
            f"law.batch: must be a multiple of the workers, got {law.batch} and {group.size}"
        )
    torch.set_num_threads(config.compute.threads)
    device = pick_device(config.compute.device, local_rank)
    store = open_store(out)
    pairs = open_pairs(dataset, config.reading.columns)
    if group.leads:
        begin_training(store, law, pairs.digest)
    group.wait()
    parts = load_text_to_image(law.model, law.autoencoder, NUMBERS[law.dtype])
    network = prepare_network(parts, device)
    state = State(network, law)
    checkpoints = Checkpoints(store, law.law_hash, pairs.digest, config.watching.keep)
    found = checkpoints.newest()
    if found is not None:
        state.restore(*found)
    trained, kept = hold_out(pairs.prompts, config.reading.held_out, config.watching.sheet_pairs)
    order = Order(
        law.seed,
        [pairs.prompts[i] for i in trained],
        [pairs.rows[i] for i in trained],
        law.batch,
    )
    schedule = NoiseSchedule.from_config(parts.scheduler)
    conditions = Conditions(parts.autoencoder.to(device), parts.text)
    parts.text.encoder.to(device)
    reader = PictureReader(pairs, law, conditions)
    loop = Loop(
        wrap(network),
        state,
        Objective(schedule, conditions.scaling),
        order,
        reader,
        law,
        config.compute,
        device,
        group,
        config.reading.max_bad,
    )
    sheet_rows = [pairs.rows[i][0] for i in kept[: config.watching.sheet_pairs]]
    watch = Watch(
        store, config.watching, law.steps, law.batch, _events(store) if group.leads else None
    )
    noticed = False
    for report in loop.run(law.steps, should_stop):
        urgent = not noticed and is_leaving()
        noticed = noticed or urgent
        if not group.leads:
            continue
        watch.see(report)
        watching = config.watching
        if urgent or report.step % watching.checkpoint_every == 0 or report.step == law.steps:
            checkpoints.begin(state.step, state.tensors())
            watch.store_lines()
        if watching.sheet_every and report.step % watching.sheet_every == 0:
            _draw(store, config, parts, state, pairs, sheet_rows, report.step)
    if group.leads:
        _finish(store, config, parts, state, checkpoints, watch)
        if state.step == law.steps and sheet_rows:
            _draw(store, config, parts, state, pairs, sheet_rows, state.step)
    group.wait()
    return Fitted(
        state.step, state.step >= law.steps, f"{store.uri}/{EDITOR.rstrip('/')}", len(reader.bad)
    )


def pin_law(law: Law) -> Law:
    """The law with every file of its models named by its sha256. Raises `ModelError`."""
    model, autoencoder = pin_text_to_image(law.model, law.autoencoder, law.size_px, "law")
    return law.model_copy(update={"model": model, "autoencoder": autoencoder})


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


def _finish(
    store: ObjectStore,
    config: Fit,
    parts: TextToImage,
    state: State,
    checkpoints: Checkpoints,
    watch: Watch,
) -> None:
    """A checkpoint of where it ended; the editor if that is the end."""
    if state.step not in checkpoints.steps():
        checkpoints.begin(state.step, state.tensors())
    checkpoints.finish()
    watch.close()
    if state.step < config.law.steps:
        return
    with tempfile.TemporaryDirectory() as name, state.average.in_place():
        scheduler = EulerAncestralDiscreteScheduler.from_config(parts.scheduler)
        write_editor(
            Path(name),
            parts.unet,
            parts.autoencoder,
            parts.text.encoder,
            parts.text.tokenizer,
            scheduler,
        )
        store_folder(store, Path(name), EDITOR)


def _draw(
    store: ObjectStore,
    config: Fit,
    parts: TextToImage,
    state: State,
    pairs: Pairs,
    rows: list[int],
    step: int,
) -> None:
    """A sheet of edits by the averaged weights, always of the same held-out pairs."""
    schedule = NoiseSchedule.from_config(parts.scheduler)
    parts.unet.eval()
    with state.average.in_place():
        editor = Editor(parts.unet, parts.autoencoder, parts.text, schedule)
        data = edit_sheet(editor, pairs, rows, config.law.size_px, config.watching)
    parts.unet.train()
    store.put(f"sheets/{step:09d}.png", data)


def _events(store: ObjectStore) -> Path | None:
    """TensorBoard writes files as they grow, so beside a local training only."""
    return store.folder / "tensorboard" if isinstance(store, LocalStore) else None
