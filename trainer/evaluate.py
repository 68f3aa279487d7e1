"""The program behind `editmill evaluate`: held-out scenes edited, judged by the oracle, and shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from factory.edits.editors.ip2p import Editor
from factory.errors import ConfigError
from factory.miniature.oracle import ORACLE_VERSION
from factory.pairs.sheet import cell, grid
from factory.pictures import Picture
from schemas.fit import Sampler
from schemas.recipe import ModelSource
from trainer.miniature.editing import EditTask, JudgedEdit, edit_figures, judged_edits

ON_SHEET = 24


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
