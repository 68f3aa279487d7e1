"""What editors are judged on in the miniature's world, and the oracle's word on what they made."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from factory.miniature import world
from factory.miniature.oracle import Judgement, judge, matches, read
from factory.miniature.wilson import wilson
from factory.pictures import Picture

MOST = 1000
"""Tasks that are distinct: each of 200 captions with each of five edit kinds."""


@dataclass(frozen=True, kw_only=True)
class EditTask:
    """A picture of a scene that no model was trained on, and what is to be done to it."""

    picture: Picture
    """(64, 64, 3) uint8, as the world draws it."""
    instruction: str
    original_prompt: str
    edited_prompt: str
    edit_kind: str


@dataclass(frozen=True, kw_only=True)
class JudgedEdit:
    """What became of a task."""

    judgement: Judgement
    identity: bool
    """Whether the picture still reads as it was: nothing was edited."""
    unreadable: bool
    """Whether it shows no scene any more."""


def edit_tasks(count: int, seed: int = 0) -> list[EditTask]:
    """Scenes by held-out captions at places of their own, edit kinds in turn.

    Distinct up to 1,000; a caption comes back after 200, with another kind. Raises `ValueError` beyond.
    """
    captions, kinds = world.held_out_captions(), world.EDIT_KINDS
    if count > len(captions) * len(kinds):
        raise ValueError(f"count must be at most {len(captions) * len(kinds)}, got {count}")
    rng = random.Random(f"edit tasks {seed}")
    rng.shuffle(captions)
    tasks = []
    for number in range(count):
        turn, place = divmod(number, len(captions))
        before = world.place(world.parse_caption(captions[place]), rng)
        kind = kinds[(number + turn) % len(kinds)]
        after = world.edit(before, kind, rng)
        tasks.append(
            EditTask(
                picture=world.render(before),
                instruction=world.instruction(kind, before, after, rng),
                original_prompt=world.caption(before),
                edited_prompt=world.caption(after),
                edit_kind=kind,
            )
        )
    return tasks


def judge_edits(tasks: Sequence[EditTask], edits: Sequence[Picture]) -> list[JudgedEdit]:
    """The oracle's word on each edit."""
    return [
        judge_edit(task.picture, edit, task.original_prompt, task.edited_prompt)
        for task, edit in zip(tasks, edits, strict=True)
    ]


def judge_edit(picture: Picture, edit: Picture, original: str, edited: str) -> JudgedEdit:
    """The oracle's word on an edit of a picture, by the captions of both."""
    return JudgedEdit(
        judgement=judge(picture, edit, original, edited),
        identity=matches(edit, original),
        unreadable=read(edit) is None,
    )


def interval(share: float, count: int) -> list[float]:
    """Wilson's of 95 %."""
    return [round(bound, 4) for bound in wilson(share, count)]


def edit_figures(tasks: Sequence[EditTask], judged: Sequence[JudgedEdit]) -> dict[str, Any]:
    """Shares of all edits; `edit_accuracy` are those where the edit is done and the rest kept."""
    count = len(judged)
    shares = {
        "edit_accuracy": sum(one.judgement.true for one in judged) / count,
        "edit_done": sum(one.judgement.edit_done for one in judged) / count,
        "kept_rest": sum(one.judgement.rest_kept for one in judged) / count,
        "identity_share": sum(one.identity for one in judged) / count,
        "unreadable": sum(one.unreadable for one in judged) / count,
    }
    by_kind: dict[str, float] = {}
    of: dict[str, int] = {}
    for kind in world.EDIT_KINDS:
        pairs = zip(tasks, judged, strict=True)
        of_kind = [one.judgement.true for task, one in pairs if task.edit_kind == kind]
        if of_kind:
            of[kind] = len(of_kind)
            by_kind[kind] = round(sum(of_kind) / len(of_kind), 4)
    return {
        **{name: round(share, 4) for name, share in shares.items()},
        **{f"{name}_95": interval(share, count) for name, share in shares.items()},
        "edit_accuracy_by_kind": by_kind,
        "edit_accuracy_by_kind_95": {kind: interval(by_kind[kind], of[kind]) for kind in by_kind},
        "edits": count,
    }
