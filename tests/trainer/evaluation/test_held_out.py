"""Which pictures editors are judged on: the world's, a dataset's that a training held out, a list's."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from factory.dataset.dataset import Dataset
from factory.dataset.index import store_index
from factory.errors import ConfigError, InputError
from schemas.edits import EditRecipe
from schemas.evaluation import Entrant, EvaluationRecipe
from tests.chaos.stores.memory_store import MemoryStore
from tests.trainer.small import pair, png, write_pairs
from trainer.evaluation.held_out import Unreadable, find_tasks, open_pictures
from trainer.evaluation.prepare import with_digests
from trainer.evaluation.stage import items_of
from trainer.feeding.hold_out import hold_out

IP2P = {"editor": "ip2p", "ip2p": {"model": {"source": "m"}}}
SDEDIT = {"editor": "sdedit", "sdedit": {"model": {"source": "m"}}}


def recipe(edits=IP2P, **held_out):
    entrants = (Entrant(name="e", edits=EditRecipe(**edits)),)
    return EvaluationRecipe(entrants=entrants, held_out=held_out, clip={"source": "c"})


def opened(of, tasks, store=None):
    """The pictures of a run, and a way to open those of its items."""
    run = SimpleNamespace(recipe=with_digests(of, tasks), store=store)
    pictures = open_pictures(run, tasks.place, 10**6)
    return pictures, items_of(run.recipe, tasks.tasks)


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_scenes_are_those_that_the_oracle_judges_and_fewer_are_others():
    found = find_tasks(recipe(count=3))
    assert [task.picture for task in found.tasks] == ["0000", "0001", "0002"]
    assert all(task.source_caption and task.target_caption and task.kind for task in found.tasks)
    pictures, items = opened(recipe(count=3), found)
    assert pictures.open(items[2]).shape == (64, 64, 3)
    assert find_tasks(recipe(count=2)).digest != found.digest
    assert find_tasks(recipe(count=3)).digest == found.digest
    with pytest.raises(ConfigError, match="at most 1000 of the miniature, got 1001"):
        find_tasks(recipe(count=1001))


def test_pictures_after_the_first_so_many_are_others_under_their_own_numbers(tmp_path):
    whole = find_tasks(recipe(count=5))
    wanted = recipe(count=3, first=2)
    found = find_tasks(wanted)
    assert found.tasks == whole.tasks[2:]
    pictures, items = opened(wanted, found)
    before, _ = opened(recipe(count=5), whole)
    assert np.array_equal(pictures.open(items[0]), before.open(items[0]))
    with pytest.raises(ConfigError, match="at most 998 of the miniature after 2, got 999"):
        find_tasks(recipe(count=999, first=2))
    source = write_pairs(tmp_path / "pairs", prompts=6)
    of_dataset = {"kind": "dataset", "source": source}
    whole = find_tasks(recipe(**of_dataset)).tasks
    assert find_tasks(recipe(**of_dataset, first=4)).tasks == whole[4:]
    with pytest.raises(InputError, match="at least one held-out picture, got none"):
        find_tasks(recipe(**of_dataset, first=6))
    (tmp_path / "list.csv").write_text("image,instruction\n" + "a.png,x\nb.png,x\nc.png,x\n")
    of_list = {"kind": "requests", "source": str(tmp_path / "list.csv")}
    found = find_tasks(recipe(**of_list, first=1)).tasks
    assert [(task.number, task.picture) for task in found] == [(1, "b.png"), (2, "c.png")]


def test_of_a_dataset_those_prompts_that_a_training_held_out(tmp_path):
    source = write_pairs(tmp_path / "pairs", prompts=12)
    wanted = recipe(kind="dataset", source=source, held_out=0.5, count=100)
    found = find_tasks(wanted)
    dataset = Dataset.open(source)
    _, unseen = hold_out(dataset.prompts, 0.5, 0)
    assert [int(task.picture) for task in found.tasks] == [dataset.rows[n][0] for n in unseen]
    assert 0 < len(found.tasks) < 12
    first = found.tasks[0]
    number, index = divmod(int(first.picture), 2)
    there = pair(number, index)
    assert first.instruction == there.edit_prompt
    assert (first.source_caption, first.target_caption) == (
        there.original_prompt,
        there.edited_prompt,
    )
    store = MemoryStore()
    store_index(store, found.index)
    pictures, items = opened(wanted, found, store)
    try:
        seen = pictures.open(items[0])
    finally:
        pictures.close()
    assert np.array_equal(seen, decoded(there.original_image.bytes))


def test_of_a_dataset_without_a_share_each_prompt_once_up_to_the_count(tmp_path):
    source = write_pairs(tmp_path / "pairs", prompts=6)
    assert len(find_tasks(recipe(kind="dataset", source=source)).tasks) == 6
    few = find_tasks(recipe(kind="dataset", source=source, count=4))
    assert len({task.instruction + str(task.source_caption) for task in few.tasks}) == 4


def test_a_sealed_further_dataset_is_known_by_the_index_that_a_run_holds(tmp_path):
    source = write_pairs(tmp_path / "pairs", prompts=6)
    wanted = recipe(kind="dataset", source=source)
    first = find_tasks(wanted)
    assert find_tasks(wanted, first.index).digest == first.digest
    write_pairs(tmp_path / "pairs", prompts=7)
    assert find_tasks(wanted).digest != first.digest


def test_a_picture_that_is_none_is_unreadable(tmp_path):
    broken = {"bytes": b"no picture", "path": "0.png"}
    source = write_pairs(tmp_path / "pairs", prompts=1, original_image=broken)
    wanted = recipe(kind="dataset", source=source)
    found = find_tasks(wanted)
    store = MemoryStore()
    store_index(store, found.index)
    pictures, items = opened(wanted, found, store)
    try:
        with pytest.raises(Unreadable, match="original"):
            pictures.open(items[0])
    finally:
        pictures.close()


def test_a_list_of_requests_names_pictures_beside_it(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "list.csv").write_text(
        "image,instruction,target_caption\na.png,make it red,a red one\nb.png,make it blue,\n"
        "a.png,make it green,\n"
    )
    wanted = recipe(kind="requests", source=str(tmp_path / "list.csv"))
    found = find_tasks(wanted)
    assert [(t.picture, t.instruction, t.target_caption) for t in found.tasks] == [
        ("a.png", "make it red", "a red one"),
        ("b.png", "make it blue", None),
        ("a.png", "make it green", None),
    ]
    pictures, items = opened(wanted, found)
    try:
        assert np.array_equal(pictures.open(items[0]), decoded(png(1)))
        with pytest.raises(Unreadable, match="no such picture"):
            pictures.open(items[1])
    finally:
        pictures.close()
    before = found.digest
    (tmp_path / "b.png").write_bytes(png(2))
    assert find_tasks(wanted).digest != before


def test_an_editor_that_needs_words_that_are_not_there_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("image,instruction\na.png,make it red\n")
    entrants = (
        Entrant(name="ours", edits=EditRecipe(**IP2P)),
        Entrant(name="noise", edits=EditRecipe(**SDEDIT)),
    )
    held_out = {"kind": "requests", "source": str(tmp_path / "list.csv")}
    wanted = EvaluationRecipe(entrants=entrants, held_out=held_out, clip={"source": "c"})
    words = r"noise \(sdedit\) needs a target_caption of every picture, got none of a\.png"
    with pytest.raises(InputError, match=words):
        find_tasks(wanted)


def test_a_dataset_of_which_nothing_was_held_out_is_refused(tmp_path):
    source = write_pairs(tmp_path / "pairs", prompts=2)
    with pytest.raises(InputError, match="must leave at least one of its 2 prompts, got none"):
        find_tasks(recipe(kind="dataset", source=source, held_out=1e-9))
