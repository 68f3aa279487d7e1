"""The program behind `editmill evaluate`: held-out scenes edited, judged by the oracle, and shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from factory.engine.checkpoint import load_text_to_image
from factory.engine.editor import Editor
from factory.engine.schedule import NoiseSchedule
from factory.errors import ConfigError, ModelError
from factory.miniature.oracle import ORACLE_VERSION
from factory.miniature.world import SIDE_PX
from factory.pair_source import Picture
from factory.pinning import pin_text_to_image
from factory.sheet import cell, grid
from schemas.fit import Sampler
from schemas.recipe import ModelSource
from trainer.editor import EDITOR_CHANNELS
from trainer.group import pick_device
from trainer.miniature.editing import EditTask, JudgedEdit, edit_figures, judged_edits

ON_SHEET = 24


def load_editor(source: ModelSource, device: str) -> tuple[Editor, ModelSource]:
    """An editor in evaluation mode, and its source with every file's hash. Raises `ModelError`."""
    pinned, _ = pin_text_to_image(source, None, SIDE_PX, "editor")
    parts = load_text_to_image(pinned, None, torch.float32)
    if parts.unet.conv_in.in_channels != EDITOR_CHANNELS:
        raise ModelError(
            f"{source.source}: an editor's UNet must have {EDITOR_CHANNELS} input channels, got "
            f"{parts.unet.conv_in.in_channels}; a text-to-image model becomes one by `editmill fit`"
        )
    where = pick_device(device)
    for network in (parts.unet, parts.autoencoder, parts.text.encoder):
        network.to(where).eval()
    schedule = NoiseSchedule.from_config(parts.scheduler)
    return Editor(parts.unet, parts.autoencoder, parts.text, schedule), pinned


def write_evaluation(
    out: Path,
    source: ModelSource,
    count: int,
    sampler: Sampler,
    device: str,
    tell: Callable[[], None],
) -> dict[str, Any]:
    """Judge an editor; `out` gets `evaluation.json`, which is returned, and `sheet.png`."""
    editor, pinned = load_editor(source, device)
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
