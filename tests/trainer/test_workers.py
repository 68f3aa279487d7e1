"""One, two or four workers, with whole networks or shards: the same items, weights and checkpoints."""

import json

import pytest
import torch
from safetensors.torch import load

from tests.trainer.small import objects, small, state_of, write_pairs
from tests.trainer.workers import Job, train_on

pytestmark = pytest.mark.long
LAW = {"dtype": "float64", "batch": 5, "steps": 4}
"""Two workers hold two and three items, in one and in two micro-batches."""
WATCHING = {"checkpoint_every": 2, "sheet_every": 4, "sampler": {"steps": 1}}
SHARD = {"shard": True}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture(scope="module")
def used(dataset, root):
    """Trainings by name in `root`, and the items of each one's workers."""

    def job(name, steps=10**9, law=None, **compute):
        config = small(law=LAW | (law or {}), watching=WATCHING, compute=compute)
        return Job(config, dataset, root / name, steps)

    half, lora = {"dtype": "bfloat16", "steps": 1}, {"lora": {"rank": 2}, "steps": 2}
    jobs = {
        1: {
            "one": job("one"),
            "begun alone": job("begun alone", 1),
            "one, LoRA": job("one, LoRA", law=lora),
        },
        2: {
            "two": job("two"),
            "two shards": job("two shards", **SHARD),
            "begun alone": job("begun alone", 2, **SHARD),
            "two, bfloat16": job("two, bfloat16", law=half),
            "two shards, bfloat16": job("two shards, bfloat16", law=half, **SHARD),
            "two shards, LoRA": job("two shards, LoRA", law=lora, **SHARD),
        },
        4: {"four": job("four"), "begun alone": job("begun alone", **SHARD)},
    }
    found = {}
    for workers, by_name in jobs.items():
        items = train_on(workers, *by_name.values())
        found |= {(name, workers): one for name, one in zip(by_name, items, strict=True)}
    return found


def figures(root, name):
    lines = b"".join(objects(root / name, "progress/").values()).decode().splitlines()
    found = {fields.pop("step"): fields for fields in map(json.loads, lines)}
    return {
        (step, what): of[what] for step, of in found.items() for what in ("loss", "gradient_norm")
    }


def same(one, other, tolerance):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", ["two", "two shards", "four"])
def test_each_item_stands_in_the_same_step_and_slot_on_any_number_of_workers(used, name):
    (expected,) = used["one", 1]
    workers = used[name, 4 if name == "four" else 2]
    assert all(workers)
    together = [place for items in workers for place in items]
    assert sorted(together) == sorted(expected), "each once"
    assert {place: item for items in workers for place, item in items.items()} == expected


@pytest.mark.parametrize("name", ["two", "two shards", "four", "begun alone"])
def test_workers_learn_what_one_learns(used, root, name):
    expected = figures(root, "one")
    assert len(expected) == 2 * LAW["steps"]
    assert figures(root, name) == pytest.approx(expected, rel=1e-9)
    assert max(of for (_, what), of in expected.items() if what == "gradient_norm") > 1, "clipped"
    same(state_of(root / "one", 4), state_of(root / name, 4), 1e-10)


def test_a_training_goes_on_sharded_or_not_on_any_number_of_workers(used):
    """Begun by one worker, gone on by two with shards, ended by four with shards."""
    steps = [
        {step for items in used["begun alone", workers] for step, _ in items}
        for workers in (1, 2, 4)
    ]
    # Two steps are read ahead.
    assert [(min(of), max(of)) for of in steps] == [(0, 2), (1, 3), (3, 3)]


@pytest.mark.parametrize("name", ["two", "two shards"])
def test_the_editor_and_the_sheet_are_of_whole_averaged_weights(used, root, name):
    expected, found = objects(root / "one"), objects(root / name)
    assert found["sheets/000000004.png"] == expected["sheets/000000004.png"]
    editors = [{k for k in of if k.startswith("editor/")} for of in (expected, found)]
    assert editors[0] == editors[1]
    file = "editor/unet/diffusion_pytorch_model.safetensors"
    same(load(expected[file]), load(found[file]), 1e-10)
    average = {
        key.removeprefix("average."): tensor
        for key, tensor in state_of(root / name, 4).items()
        if key.startswith("average.")
    }
    same(average, load(found[file]), 0)


def test_a_lora_is_trained_in_shards_as_by_one(used, root):
    one, other = (root / name for name in ("one, LoRA", "two shards, LoRA"))
    same(state_of(one, 2), state_of(other, 2), 1e-10)
    expected, found = objects(one), objects(other)
    for file in ("editor/unet/diffusion_pytorch_model", "lora/pytorch_lora_weights"):
        same(load(expected[f"{file}.safetensors"]), load(found[f"{file}.safetensors"]), 1e-10)


def test_shards_run_in_half_precision_as_whole_networks_do(used, root):
    """To the bit going forward; going back, bfloat16 sums are taken in another order."""
    one, other = (figures(root, f"{name}, bfloat16") for name in ("two", "two shards"))
    assert other[1, "loss"] == one[1, "loss"] != figures(root, "one")[1, "loss"]
    assert other[1, "gradient_norm"] == pytest.approx(one[1, "gradient_norm"], rel=0.01)
    kept = state_of(root / "two shards, bfloat16", 1)
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
