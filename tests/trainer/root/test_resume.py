"""Interrupted anywhere and resumed: the same weights, average and optimiser, bit for bit."""

import json
import math
import shutil
from itertools import count

import pytest
import torch

from factory import deeds
from factory.dataset.dataset import Dataset
from factory.errors import ModelError, RunMismatch, StorageRefused
from factory.storage.local import LocalStore
from schemas.canonical import canonical_json, content_hash
from schemas.training.root import RECORD
from tests.trainer.small import files_of, objects, small, state_of, train, write_pairs
from trainer.feeding import feed
from trainer.fit import go_on
from trainer.learning.group import Group
from trainer.learning.state import State
from trainer.loop import NotFinite
from trainer.root.checkpoint import Checkpoints

STEPS = 5
LAWS = {
    "float32": {"steps": STEPS},
    "bfloat16": {"steps": STEPS, "dtype": "bfloat16"},
    "cooling": {"steps": STEPS, "cool_down": 0.5, "clip_norm": None},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def editors(out):
    return objects(out, "editor/")


class After:
    """Asks to stop once so many steps were done."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    config = small(law=LAWS["float32"])
    out = tmp_path_factory.mktemp("whole")
    assert train(config, dataset, out).done
    return config, out


@pytest.mark.parametrize(
    "law",
    ["float32", *(pytest.param(law, marks=pytest.mark.long) for law in ("bfloat16", "cooling"))],
)
def test_stopped_after_each_step_and_resumed_it_is_bit_for_bit_the_same(law, dataset, tmp_path):
    config, whole = small(law=LAWS[law]), tmp_path / "whole"
    train(config, dataset, whole)
    tmp_path = tmp_path / "out"
    for done in range(1, STEPS + 1):
        found = train(config, dataset, tmp_path, should_stop=After(1))
        assert (found.step, found.done) == (done, done == STEPS)
    expected, found = state_of(whole), state_of(tmp_path)
    assert expected.keys() == found.keys()
    kinds = {name.partition(".")[0] for name in expected}
    assert kinds == {"weight", "average", "mean", "square"}
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert editors(tmp_path) == editors(whole)


class Killed(BaseException):
    """As a process that is gone."""


@pytest.mark.long
@pytest.mark.parametrize("step", [1, 3, 4])
def test_killed_between_checkpoints_it_goes_on_from_the_newest(
    undisturbed, dataset, tmp_path, step
):
    config, whole = undisturbed

    def dies(line):
        if line.startswith(f"step {step}/"):
            raise Killed

    with pytest.raises(Killed):
        train(config, dataset, str(tmp_path), say=dies)
    lines = []
    found = train(config, dataset, str(tmp_path), say=lines.append)
    # Checkpoints are at 2 and 4; the step that died had not been kept.
    assert lines[0].startswith(f"step {1 + 2 * ((step - 1) // 2)}/")
    assert found.done
    expected, got = state_of(whole), state_of(tmp_path)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


@pytest.mark.long
def test_a_damaged_newest_checkpoint_costs_steps_and_nothing_else(undisturbed, dataset, tmp_path):
    config, whole = undisturbed
    train(config, dataset, tmp_path, should_stop=After(4))
    store = LocalStore(tmp_path)
    file = files_of(store, 4)[0].key
    store.put(file, store.get(file)[:-1])
    lines = []
    # Stopped where the damaged one stands: that is no reason not to write.
    assert train(config, dataset, str(tmp_path), say=lines.append, should_stop=After(2)).step == 4
    assert lines[0].startswith("checkpoint 4 is damaged and passed over: ")
    assert "not the bytes of its record" in lines[0]
    assert train(config, dataset, tmp_path, should_stop=After(0)).step == 4
    assert train(config, dataset, tmp_path).done
    expected, got = state_of(whole), state_of(tmp_path)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


def test_a_finished_training_stays_as_it_is_when_it_is_started_again(
    undisturbed, dataset, tmp_path
):
    config, whole = undisturbed
    shutil.copytree(whole, tmp_path / "again")
    lines = []
    assert train(config, dataset, str(tmp_path / "again"), say=lines.append).done
    assert lines == []
    assert objects(tmp_path / "again") == objects(whole)


@pytest.mark.long
def test_more_steps_go_on_from_a_finished_training(dataset, tmp_path):
    short, long = small(law={"steps": 2}), small(law={"steps": STEPS})
    train(short, dataset, tmp_path / "out")
    assert train(long, dataset, tmp_path / "out").step == STEPS
    train(long, dataset, tmp_path / "whole")
    expected, got = state_of(tmp_path / "whole"), state_of(tmp_path / "out")
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


def test_fewer_steps_than_are_done_are_refused_and_nothing_is_written(
    undisturbed, dataset, tmp_path
):
    _, whole = undisturbed
    shutil.copytree(whole, tmp_path / "again")
    with pytest.raises(RunMismatch, match=r"law\.steps: must be at least 5, .*/again, got 3"):
        train(small(law={"steps": 3}), dataset, tmp_path / "again")
    assert objects(tmp_path / "again") == objects(whole)


@pytest.mark.parametrize(
    ("group", "named"),
    [
        ({"reading": {"held_out": 0.4}}, r"reading\.held_out: 0\.0 -> 0\.4"),
        ({"watching": {"sheet_pairs": 3}}, r"watching\.sheet_pairs: 1 -> 3"),
        (
            {"reading": {"columns": {"edited_image": "original_image"}}},
            r'reading\.columns\.edited_image: "edited_image" -> "original_image"',
        ),
    ],
    ids=["held_out", "sheet_pairs", "columns"],
)
def test_what_decides_which_pairs_are_trained_stays_as_it_was_at_first(
    dataset, tmp_path, group, named
):
    train(small(), dataset, tmp_path, should_stop=After(1))
    with pytest.raises(RunMismatch, match=rf"differing: {named}$"):
        train(small(**group), dataset, tmp_path)


def test_a_training_begun_before_that_was_recorded_goes_on(dataset, tmp_path):
    train(small(), dataset, tmp_path, should_stop=After(1))
    store = LocalStore(tmp_path)
    record = json.loads(store.get(RECORD))
    for name in ("stamp", "columns", "held_out", "sheet_pairs"):
        del record[name]
    data = canonical_json(record | {"stamp": content_hash(record)})
    store.put(RECORD, data)
    assert train(small(reading={"held_out": 0.4}), dataset, tmp_path).done
    assert store.get(RECORD) == data, "written once"


def test_the_state_of_another_network_is_refused(tmp_path):
    law = small(False).law
    wide, narrow = torch.nn.Linear(4, 3), torch.nn.Linear(4, 2)
    checkpoints = Checkpoints(LocalStore(tmp_path), "a" * 64, "d" * 64, 2)
    checkpoints.write(1, State(wide, law).tensors())
    with pytest.raises(ModelError, match=r"weight.weight must be of shape \[2, 4\], got \[3, 4\]"):
        go_on(State(narrow, law), checkpoints, Group())
    with pytest.raises(ModelError, match=r"got none"):
        go_on(State(torch.nn.LSTMCell(4, 1), law), checkpoints, Group())


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_not_finite_ends_it_and_the_last_good_checkpoint_stays(
    dataset, tmp_path, monkeypatch, what
):
    config, poisoned, steps = small(law={"steps": STEPS}), [], count(1)
    if what == "loss":
        real = feed.assemble

        def assemble(reader, seen, device, dtype):
            batch = real(reader, seen, device, dtype)
            # Two micro-batches make a step.
            if next(steps) == 7:
                poisoned.append(seen[0].row)
                batch.mean[0] = math.nan
            return batch

        monkeypatch.setattr(feed, "assemble", assemble)
    else:
        clip = State.clip

        def poison(state):
            if next(steps) == 4:
                next(iter(state.parameters.values())).grad[0] = math.inf
            return clip(state)

        monkeypatch.setattr(State, "clip", poison)
    with pytest.raises(NotFinite) as raised:
        train(config, dataset, tmp_path)
    assert raised.value.exit_code == 4
    rows = str(raised.value).partition("rows of the dataset: ")[2].split("; ")
    assert str(raised.value).startswith(f"step 4: {what} must be finite, got ")
    named = Dataset.open(dataset)
    assert rows == [named.where(row) for row in poisoned] or len(rows) == 4
    checkpoints = sorted(objects(tmp_path, "checkpoints/"))
    assert checkpoints == ["checkpoints/000000002.json"]
    assert editors(tmp_path) == {}
    monkeypatch.undo()
    assert train(config, dataset, tmp_path).done


def test_keys_that_expire_while_it_trains_end_it_with_3(tmp_path, monkeypatch):
    dataset = write_pairs(tmp_path / "pairs")
    train(small(), dataset, tmp_path / "out", should_stop=After(1))

    def expired(*_):
        raise StorageRefused("PutObject answered 400 ExpiredToken")

    deeds.anew()
    monkeypatch.setattr(LocalStore, "put", expired)
    with pytest.raises(StorageRefused) as raised:
        train(small(), dataset, tmp_path / "out")
    assert deeds.exit_code(raised.value) == 3
