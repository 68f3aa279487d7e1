"""The program behind `editmill evaluate`: held-out scenes edited, judged by the oracle, and shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.editor import Editor
from factory.engine.solvers.schedule import NoiseSchedule
from factory.errors import ConfigError, EditmillError, ModelError
from factory.miniature.oracle import ORACLE_VERSION
from factory.miniature.world import SIDE_PX
from factory.models.configs import read_config
from factory.models.find import model_folder
from factory.models.pin import pin_text_to_image
from factory.pairs.sheet import cell, grid
from factory.pictures import Picture
from factory.storage.open import open_store
from schemas.fit import Sampler
from schemas.recipe import ModelSource
from trainer.learning.editor import EDITOR_CHANNELS
from trainer.learning.group import pick_device
from trainer.miniature.editing import EditTask, JudgedEdit, edit_figures, judged_edits
from trainer.root.training import EDITOR, RECORD

ON_SHEET = 24
INDEX = "model_index.json"
"""Written last of an editor's files."""


def load_editor(source: ModelSource, device: str) -> tuple[Editor, ModelSource]:
    """An editor in evaluation mode, and its source with every file's hash. Raises `ModelError`."""
    where = pick_device(device)
    _check_is_no_training(source.source)
    folder = model_folder(source, "text_to_image")
    config = folder / "unet" / "config.json"
    if config.is_file() or folder.is_file():
        channels = read_config(config).get("in_channels", 4) if config.is_file() else 4
        if channels != EDITOR_CHANNELS:
            raise ModelError(
                f"{source.source}: an editor's UNet must have {EDITOR_CHANNELS} input channels, got "
                f"{channels}; a text-to-image model becomes one by `editmill fit`"
            )
    pinned, _ = pin_text_to_image(source, None, SIDE_PX, "editor")
    parts = load_text_to_image(pinned, None, torch.float32)
    for network in (parts.unet, parts.autoencoder, parts.text.encoder):
        network.to(where).eval()
    schedule = NoiseSchedule.from_config(parts.scheduler)
    return Editor(parts.unet, parts.autoencoder, parts.text, schedule), pinned


def _check_is_no_training(uri: str) -> None:
    """Point from a training's root to the editor in it. Raises `ModelError`."""
    try:
        store = open_store(uri)
        is_training = store.find(RECORD) is not None
        has_editor = is_training and store.find(f"{EDITOR}{INDEX}") is not None
    except EditmillError:
        # No place of ours: the models' own errors say what is wrong with it.
        return
    if is_training:
        editor = f"{uri.rstrip('/')}/{EDITOR.rstrip('/')}"
        hint = f"give {editor}" if has_editor else "its editor is not written yet: `fit` goes on"
        raise ModelError(f"{uri}: must be an editor, got the training of one; {hint}")


def write_evaluation(
    out: Path,
    editor: Editor,
    pinned: ModelSource,
    count: int,
    sampler: Sampler,
    tell: Callable[[], None],
) -> dict[str, Any]:
    """Judge an editor, as `load_editor` gives it; `out` gets `evaluation.json`, which is returned, and
    `sheet.png`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from None
    tasks, edits, judged = judged_edits(editor, count, sampler, tell)
    report = {
        **edit_figures(tasks, judged),
        "sampler": sampler.model_dump(),
        "oracle_version": ORACLE_VERSION,
        "files": pinned.files,
    }
    (out / "edits.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "instruction": task.instruction,
                    "original_prompt": task.original_prompt,
                    "edited_prompt": task.edited_prompt,
                    "edit_kind": task.edit_kind,
                    **asdict(one.judgement),
                    "identity": one.identity,
                    "unreadable": one.unreadable,
                }
            )
            + "\n"
            for task, one in zip(tasks, judged, strict=True)
        )
    )
    (out / "sheet.png").write_bytes(sheet(tasks[:ON_SHEET], edits, judged))
    # Last, and whole: who finds it finds the others, too.
    half = out / "evaluation.json.half"
    half.write_text(json.dumps(report, indent=1) + "\n")
    half.replace(out / "evaluation.json")
    return report


def sheet(
    tasks: Sequence[EditTask], edits: Sequence[Picture], judged: Sequence[JudgedEdit]
) -> bytes:
    """A PNG: scenes beside their edits, with the oracle's word."""
    cells = [
        cell(
            [Image.fromarray(task.picture), Image.fromarray(edit)],
            [task.original_prompt, "> " + task.instruction, verdict(one)],
        )
        for task, edit, one in zip(tasks, edits, judged, strict=False)
    ]
    return grid(cells, 4)


def verdict(one: JudgedEdit) -> str:
    """In words."""
    if one.judgement.true:
        return "edited, the rest kept"
    if one.unreadable:
        return "unreadable"
    if one.identity:
        return "not edited"
    return "edited, not all else kept" if one.judgement.edit_done else "not as asked"
