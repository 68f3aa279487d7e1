"""The oracle's tasks tell an editor that edits from one that does not; stand-ins for the editors."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from factory.miniature import world
from factory.miniature.oracle import read
from schemas.training.fit import Sampler
from trainer.miniature.editing import AT_ONCE, judged_edits
from trainer.miniature.tasks import edit_figures, edit_tasks, judge_edits

TASKS = edit_tasks(60)


def shown(task, caption):
    """A caption's scene, where the task's is."""
    there = read(task.picture)
    return world.render(replace(world.parse_caption(caption), x=there.x, y=there.y))


def figures(edits):
    return edit_figures(TASKS, judge_edits(TASKS, edits))


def test_tasks_are_distinct_and_show_captions_that_nothing_was_trained_on():
    tasks = edit_tasks(300)
    assert len({(t.original_prompt, t.instruction, t.edited_prompt) for t in tasks}) == 300
    assert {t.original_prompt for t in tasks} <= set(world.held_out_captions())
    assert Counter(t.edit_kind for t in tasks) == dict.fromkeys(world.EDIT_KINDS, 60)
    assert all(read(t.picture).shape in t.original_prompt for t in tasks)


def test_fewer_tasks_are_the_first_of_more():
    assert [t.instruction for t in TASKS] == [t.instruction for t in edit_tasks(300)[:60]]
    assert [t.instruction for t in TASKS] != [t.instruction for t in edit_tasks(60, seed=1)]


def test_there_are_only_so_many_tasks():
    with pytest.raises(ValueError, match="at most 1000, got 1001"):
        edit_tasks(1001)


def test_an_editor_that_does_as_it_is_told_is_always_right():
    found = figures([shown(task, task.edited_prompt) for task in TASKS])
    assert (found["edit_accuracy"], found["kept_rest"], found["identity_share"]) == (1.0, 1.0, 0.0)
    assert found["edit_accuracy_by_kind"] == dict.fromkeys(world.EDIT_KINDS, 1.0)
    assert found["edit_accuracy_95"][0] > 0.93


def test_an_editor_that_does_nothing_keeps_the_rest_and_is_never_right():
    found = figures([task.picture for task in TASKS])
    assert (found["edit_accuracy"], found["edit_done"], found["identity_share"]) == (0.0, 0.0, 1.0)
    # A background that was to change is part of what must be as the caption says.
    assert found["kept_rest"] == 0.8


def test_an_edit_that_moves_the_shape_is_done_but_does_not_keep_the_rest():
    def moved(task):
        there = read(task.picture)
        x = there.x + (0.15 if there.x < 0.5 else -0.15)
        return world.render(replace(world.parse_caption(task.edited_prompt), x=x, y=there.y))

    found = figures([moved(task) for task in TASKS])
    assert (found["edit_done"], found["edit_accuracy"], found["kept_rest"]) == (1.0, 0.0, 0.0)
    judged = judge_edits(TASKS, [moved(task) for task in TASKS])
    assert not any(one.judgement.place_kept for one in judged)
    # Of all, and of the twelve of a kind.
    assert found["edit_done_95"][0] == pytest.approx(60 / (60 + 1.96**2), abs=1e-3)
    assert found["edit_accuracy_by_kind_95"]["size"][1] == pytest.approx(
        1.96**2 / (12 + 1.96**2), abs=1e-3
    )


def test_what_shows_nothing_is_unreadable():
    found = figures([np.zeros((64, 64, 3), np.uint8) for _ in TASKS])
    assert (found["unreadable"], found["edit_accuracy"], found["kept_rest"]) == (1.0, 0.0, 0.0)


class Told:
    """Edits as it is told; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def edit(self, pictures, instructions, noise_seeds, **sampler):
        self.asked.append((len(pictures), instructions, noise_seeds, sampler))
        return [picture.permute(1, 2, 0).numpy() for picture in pictures]


def test_each_task_is_edited_once_with_noise_of_its_own():
    editor, heard = Told(), []
    count = AT_ONCE + 3
    tasks, edits, judged = judged_edits(editor, count, Sampler(steps=7), lambda: heard.append(1))
    assert [len(part) for part in (tasks, edits, judged, heard)] == [count] * 4
    assert [asked[0] for asked in editor.asked] == [AT_ONCE, 3]
    assert [seed for asked in editor.asked for seed in asked[2]] == list(range(count))
    assert [word for asked in editor.asked for word in asked[1]] == [t.instruction for t in tasks]
    assert {asked[3]["steps"] for asked in editor.asked} == {7}
    assert all(one.identity for one in judged)
    assert all((edit == task.picture).all() for task, edit in zip(tasks, edits, strict=True))
