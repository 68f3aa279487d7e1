"""A dataset as the trainer sees it: prompts and their pairs, pictures alike in size and mirror."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from factory.dataset.dataset import Dataset
from factory.engine.text.encoder import Words
from tests.trainer.small import png, small, write_pairs
from trainer.feeding.hold_out import hold_out
from trainer.feeding.pictures import bucket, resized
from trainer.feeding.reader import LoadedRow, PictureReader, assemble, micro_batches
from trainer.learning.order import StepPair


def test_held_out_prompts_are_the_same_while_a_dataset_grows():
    names = [f"{(i * 0x9E3779B97F4A7C15) % 2**64:016x}" for i in range(1, 400)]
    trained, kept = hold_out(names, 0.1, 4)
    assert sorted(trained + kept) == list(range(399))
    assert 20 <= len(kept) <= 60
    assert {names[i] for i in hold_out(names[:200], 0.1, 4)[1]} <= {names[i] for i in kept}


@pytest.mark.parametrize(("share", "count"), [(0.999, 3), (0.0, 1), (0.5, 1)])
def test_at_least_one_prompt_is_always_trained(share, count):
    trained, kept = hold_out([f"{i:016x}" for i in range(count)], share, 8)
    assert trained
    assert len(trained) + len(kept) == count


def item(row, flip=False):
    return StepPair(row=row, flip=flip, dropped="nothing", timestep=10, seed=row)


class Bare:
    """Conditions of an autoencoder with factor 1."""

    autoencoder = SimpleNamespace(factor=1)


def test_both_pictures_of_an_item_are_mirrored_alike(tmp_path):
    pairs = Dataset.open(write_pairs(tmp_path))
    reader = PictureReader(pairs, small(False).law, Bare())
    plain, turned = (reader.read(item(3, flip)).content for flip in (False, True))
    for number in (0, 1):
        assert np.array_equal(plain[number][:, :, ::-1], turned[number])
        assert not np.array_equal(plain[number], turned[number])
    assert plain[2] == turned[2] == "make it green"


def test_mixed_sizes_become_one_size_or_their_bucket(tmp_path):
    wide, tall = png(1, (48, 24)), png(2, (10, 40))
    path = write_pairs(tmp_path, original_image={"bytes": wide, "path": "a"},
                       edited_image={"bytes": tall, "path": "b"})  # fmt: skip
    pairs = Dataset.open(path)
    row = next(i for i in range(len(pairs)) if pairs.pair(i).original == wide)
    square = PictureReader(pairs, small(False).law, Bare()).read(item(row))
    assert square.shape == (16, 16)
    law = small(False, law={"size_px": 32, "buckets": True}).law
    bucketed = PictureReader(pairs, law, Bare()).read(item(row))
    # The original's aspect decides for both.
    assert bucketed.shape == (24, 48)
    assert {picture.shape for picture in bucketed.content[:2]} == {(3, 24, 48)}


@pytest.mark.parametrize("size", [(512, 512), (1024, 512), (300, 900), (4000, 3), (77, 100)])
def test_buckets_keep_aspect_and_area(size):
    high, wide = bucket(*size, 256, 64)
    assert high % 64 == wide % 64 == 0
    assert 0.6 < high * wide / 256**2 < 1.45
    aspect = min(max(size[0] / size[1], 0.5), 2)
    assert wide / high == pytest.approx(aspect, rel=0.35)


def test_a_step_of_several_shapes_is_cut_into_micro_batches_of_one():
    shapes = [(16, 16), (8, 32), (16, 16), (16, 16), (8, 32)]
    seen = [LoadedRow(item(i), i, shape, None) for i, shape in enumerate(shapes)]
    found = [[(one.row, one.shape) for one in batch] for batch in micro_batches(seen, 2)]
    assert sorted(row for batch in found for row, _ in batch) == list(range(5))
    assert all(len({shape for _, shape in batch}) == 1 and len(batch) <= 2 for batch in found)
    assert len(found) == 3


def test_pictures_are_resized_whole_and_kept_where_they_fit():
    image = Image.open(io.BytesIO(png(5)))
    picture = np.asarray(image)
    assert np.array_equal(resized(picture, (16, 16), False), picture.transpose(2, 0, 1))
    wanted = np.asarray(image.resize((24, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(resized(picture, (8, 24), False), wanted.transpose(2, 0, 1))


class Dropping:
    """A reader whose latents are all ones, some not finite."""

    bad: dict = {}

    def encode(self, seen):
        ones = torch.ones(len(seen), 4, 2, 2)
        return ones, ones, ones * float("inf"), [Words(torch.ones(3, 5)) for _ in seen]

    def nothing(self):
        return Words(torch.zeros(3, 5))


def test_conditions_are_dropped_as_the_items_say_even_where_a_latent_is_not_finite():
    kinds = ("nothing", "text", "both", "image")
    items = [
        StepPair(row=0, flip=False, dropped=kind, timestep=1, seed=i)
        for i, kind in enumerate(kinds)
    ]
    seen = [LoadedRow(one, 0, (2, 2), None) for one in items]
    batch = assemble(Dropping(), seen, torch.device("cpu"), torch.float32)
    assert [bool(batch.context[i].any()) for i in range(4)] == [True, False, False, True]
    assert [bool(batch.condition[i].any()) for i in range(4)] == [True, True, False, False]


def test_noises_of_an_item_do_not_depend_on_its_batch():
    seen = [LoadedRow(item(row), row, (2, 2), None) for row in range(3)]
    whole = assemble(Dropping(), seen, torch.device("cpu"), torch.float32)
    alone = assemble(Dropping(), seen[2:], torch.device("cpu"), torch.float32)
    assert torch.equal(whole.noise[2], alone.noise[0])
    assert torch.equal(whole.posterior[2], alone.posterior[0])
    assert not torch.equal(alone.noise, alone.posterior)
