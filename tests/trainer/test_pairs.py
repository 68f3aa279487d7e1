"""A dataset as the trainer sees it: prompts and their pairs, pictures alike in size and mirror."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from factory.engine.text import Words
from factory.errors import InputError
from tests.trainer.small import png, small, write_pairs
from trainer.feeding import pairs as pairs_module
from trainer.feeding.hold_out import hold_out
from trainer.feeding.pairs import open_pairs
from trainer.feeding.pictures import bucket, fit
from trainer.feeding.reader import PictureReader, Seen, assemble, micro_batches
from trainer.learning.order import Item


def test_rows_that_share_captions_and_instruction_are_one_prompts_pairs(tmp_path):
    pairs = open_pairs(write_pairs(tmp_path, prompts=7, pairs=2, files=3))
    assert (len(pairs), len(pairs.prompts)) == (14, 7)
    assert sorted(sorted(rows) for rows in pairs.rows) == [[2 * i, 2 * i + 1] for i in range(7)]
    assert pairs.prompts == sorted(pairs.prompts)
    assert pairs.pair(5).instruction == "make it blue"
    assert pairs.pair(5).original == png(2 * 21)


def test_a_single_file_and_other_names_of_columns_are_read(tmp_path):
    table = pa.table({"before": [png(1)], "say": ["make it red"], "after": [png(2)]})
    pq.write_table(table, tmp_path / "own.parquet")
    columns = {"original_image": "before", "edit_prompt": "say", "edited_image": "after"}
    config = small(False, reading={"columns": columns})
    pairs = open_pairs(str(tmp_path / "own.parquet"), config.reading.columns)
    assert (pairs.pair(0).instruction, pairs.pair(0).edited) == ("make it red", png(2))


def test_a_dataset_is_the_same_wherever_it_lies_and_another_with_other_rows(tmp_path):
    one, same, other = (
        open_pairs(write_pairs(tmp_path / name, prompts=count)).digest
        for name, count in (("a", 7), ("b", 7), ("c", 8))
    )
    assert one == same != other


def test_threads_may_read_while_row_groups_come_and_go(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs_module, "OPEN_BYTES", 1)
    pairs = open_pairs(write_pairs(tmp_path, prompts=8, pairs=1, files=8))
    rows = [i % 8 for i in range(400)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(pairs.pair, rows))
    assert [pair.original for pair in found] == [png(20 * row) for row in rows]
    assert len(pairs._groups) == 1


def test_a_file_that_was_cut_or_changed_inside_is_refused(tmp_path):
    folder = write_pairs(tmp_path, files=1)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a Parquet file"):
        open_pairs(folder)
    path.write_bytes(data[:8] + bytes(len(data) // 2) + data[8 + len(data) // 2 :])
    with pytest.raises(InputError, match=r"part-0\.parquet: row group 0 cannot be read"):
        open_pairs(folder).pair(0)


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
    return Item(row=row, flip=flip, dropped="nothing", timestep=10, seed=row)


class Bare:
    """Conditions of an autoencoder with factor 1."""

    factor = 1


def test_both_pictures_of_an_item_are_mirrored_alike(tmp_path):
    pairs = open_pairs(write_pairs(tmp_path))
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
    pairs = open_pairs(path)
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
    seen = [Seen(item(i), i, shape, None) for i, shape in enumerate(shapes)]
    found = [[(one.row, one.shape) for one in batch] for batch in micro_batches(seen, 2)]
    assert sorted(row for batch in found for row, _ in batch) == list(range(5))
    assert all(len({shape for _, shape in batch}) == 1 and len(batch) <= 2 for batch in found)
    assert len(found) == 3


def test_pictures_are_resized_whole_and_kept_where_they_fit():
    image = Image.open(io.BytesIO(png(5)))
    picture = np.asarray(image)
    assert np.array_equal(fit(picture, (16, 16), False), picture.transpose(2, 0, 1))
    resized = np.asarray(image.resize((24, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(fit(picture, (8, 24), False), resized.transpose(2, 0, 1))


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
        Item(row=0, flip=False, dropped=kind, timestep=1, seed=i) for i, kind in enumerate(kinds)
    ]
    seen = [Seen(one, 0, (2, 2), None) for one in items]
    batch = assemble(Dropping(), seen, torch.device("cpu"), torch.float32)
    assert [bool(batch.context[i].any()) for i in range(4)] == [True, False, False, True]
    assert [bool(batch.condition[i].any()) for i in range(4)] == [True, True, False, False]


def test_noises_of_an_item_do_not_depend_on_its_batch():
    seen = [Seen(item(row), row, (2, 2), None) for row in range(3)]
    whole = assemble(Dropping(), seen, torch.device("cpu"), torch.float32)
    alone = assemble(Dropping(), seen[2:], torch.device("cpu"), torch.float32)
    assert torch.equal(whole.noise[2], alone.noise[0])
    assert torch.equal(whole.posterior[2], alone.posterior[0])
    assert not torch.equal(alone.noise, alone.posterior)
