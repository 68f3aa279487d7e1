"""How well an editor in training follows instructions in the miniature's world, by its oracle."""

from collections.abc import Callable

import numpy as np
import torch

from factory.edits.editors.ip2p import Ip2pEditor
from factory.pictures import Picture
from schemas.training.fit import Sampler
from trainer.miniature.tasks import EditTask, JudgedEdit, edit_tasks, judge_edits

AT_ONCE = 16
"""Pictures in one batch of the sampler."""


def judged_edits(
    editor: Ip2pEditor,
    count: int,
    sampler: Sampler,
    tell: Callable[[], None] = lambda: None,
) -> tuple[list[EditTask], list[Picture], list[JudgedEdit]]:
    """Edit the first `count` tasks, each with noise by its number; `tell` is called after each."""
    tasks = edit_tasks(count)
    edits: list[Picture] = []
    for start in range(0, count, AT_ONCE):
        part = tasks[start : start + AT_ONCE]
        edits += editor.edit(
            torch.from_numpy(np.stack([task.picture.transpose(2, 0, 1) for task in part])),
            [task.instruction for task in part],
            list(range(start, start + len(part))),
            **sampler.model_dump(),
        )
        for _ in part:
            tell()
    return tasks, edits, judge_edits(tasks, edits)
