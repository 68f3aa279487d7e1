"""Training from stored latents: the same tensors, loss and gradients as from the pictures."""

import hashlib

import pytest
import torch

from factory.dataset.dataset import Dataset
from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.solvers.schedule import NoiseSchedule
from factory.errors import Damaged, InputError, RunMismatch
from factory.storage.local import LocalStore
from tests.trainer.encoded import UNREADABLE, configuration, write_dataset
from tests.trainer.small import train
from trainer.feeding.reader import PictureReader, Reader, assemble, micro_batches
from trainer.fit import fit, open_reader, prepare, prepare_network
from trainer.latents import reader as latents
from trainer.latents.encode import encode_dataset
from trainer.latents.reader import LatentReader, open_latents
from trainer.latents.slices import latents_law
from trainer.learning.conditions import Conditions
from trainer.learning.objective import NUMBERS, Objective
from trainer.learning.order import Order, StepPair

CPU = torch.device("cpu")
BUCKETS = {"buckets": True, "size_px": 32}


class Side:
    """A training's parts with one kind of reader."""

    def __init__(self, config, dataset):
        law = config.law
        self.dtype = NUMBERS[law.dtype]
        parts = load_text_to_image(law.model, law.autoencoder, self.dtype)
        conditions = Conditions(parts.autoencoder, parts.text)
        self.pairs = Dataset.open(dataset)
        self.reader = open_reader(config, self.pairs, conditions)
        self.network = prepare_network(parts, CPU)
        self.objective = Objective(
            NoiseSchedule.from_config(parts.scheduler), parts.autoencoder.config.scaling_factor
        )
        self.order = Order(law.seed, self.pairs.prompts, self.pairs.rows, law.batch)

    def step(self, items, most):
        """Tensors of every micro-batch, the items' losses, the gradients of their sum."""
        self.network.zero_grad()
        seen = [self.reader.read(item) for item in items]
        batches, losses = [], []
        for some in micro_batches(seen, most):
            batches.append(assemble(self.reader, some, CPU, self.dtype))
            losses.append(self.objective.losses(self.network, batches[-1]))
            losses[-1].sum().backward()
        gradients = [p.grad.clone() for p in self.network.parameters() if p.grad is not None]
        return batches, torch.cat(losses).detach(), gradients


def both(config, dataset, out):
    """The same training from pictures and from latents."""
    encode_dataset(config, dataset, str(out))
    cached = config.model_copy(
        update={"reading": config.reading.model_copy(update={"latents": str(out)})}
    )
    sides = Side(config, dataset), Side(cached, dataset)
    assert isinstance(sides[0].reader, PictureReader)
    assert isinstance(sides[1].reader, LatentReader)
    return sides


def items_of(side, config, step=0):
    law = config.law
    return [side.order.item(step, slot, law.flip, law.dropout) for slot in range(law.batch)]


def assert_same(found, wanted, exactly):
    for batch, other in zip(found[0], wanted[0], strict=True):
        for name in vars(other):
            if name != "added":
                compare(getattr(batch, name), getattr(other, name), exactly)
    compare(found[1], wanted[1], exactly)
    for gradient, other in zip(found[2], wanted[2], strict=True):
        compare(gradient, other, exactly)


def compare(found, wanted, exactly):
    if exactly:
        assert torch.equal(found, wanted)
    else:
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_a_cached_step_is_the_online_step_bit_for_bit_at_one_batch_shape(dataset, tmp_path):
    # Full micro-batches: both sides pass 8 pictures at once through the autoencoder, the encoder's last
    # ones padded, as a unit has 12.
    law = {"batch": 8, "dropout": {"text": 0.2, "both": 0.2, "image": 0.2}}
    config = configuration(law=law, compute={"micro_batch": 8})
    online, cached = both(config, dataset, tmp_path)
    dropped, flips = set(), set()
    for step in range(4):
        items = items_of(online, config, step)
        dropped |= {item.dropped for item in items}
        flips |= {item.flip for item in items}
        assert_same(cached.step(items, 8), online.step(items, 8), exactly=True)
    assert dropped == {"nothing", "text", "both", "image"}
    assert flips == {True, False}
    assert online.reader.bad == cached.reader.bad


@pytest.mark.long
def test_row_by_row_every_row_and_mirror_is_equal_bit_for_bit_in_buckets_too(dataset, tmp_path):
    config = configuration(law=BUCKETS, compute={"micro_batch": 1})
    online, cached = both(config, dataset, tmp_path)
    shapes = set()
    for row in range(len(online.pairs)):
        for flip in (False, True):
            item = StepPair(row, flip, "nothing", 500, 7)
            ours, theirs = cached.reader.read(item), online.reader.read(item)
            assert (ours.row, ours.shape, ours.item) == (theirs.row, theirs.shape, theirs.item)
            shapes.add(ours.shape)
            assert_same(cached.step([item], 1), online.step([item], 1), exactly=True)
    assert len(shapes) > 1


def test_other_batch_shapes_change_no_more_than_rounding(dataset, tmp_path):
    config = configuration(law={"dtype": "float64"} | BUCKETS)
    online, cached = both(config, dataset, tmp_path)
    items = items_of(online, config)
    assert_same(cached.step(items, 3), online.step(items, 3), exactly=False)


def test_an_unreadable_row_is_passed_over_and_counted_as_online(dataset, tmp_path):
    online, cached = both(configuration(), dataset, tmp_path)
    item = StepPair(UNREADABLE, False, "nothing", 1, 2)
    seen = [side.reader.read(item) for side in (online, cached)]
    assert [one.row for one in seen] == [UNREADABLE + 1, UNREADABLE + 1]
    assert [len(side.reader.bad) for side in (online, cached)] == [1, 1]
    assert online.reader.bad == cached.reader.bad


@pytest.mark.parametrize(("unreadable", "instead"), [(0, 2), (5, 0)])
def test_a_held_out_row_never_takes_the_place_of_an_unreadable_one(
    tmp_path, monkeypatch, unreadable, instead
):
    # Rows 1 and 6 are the held-out prompt's.
    dataset = write_dataset(tmp_path / "pairs", rows=(7,), unreadable=unreadable)
    config = configuration(law={"steps": 3}, reading={"max_bad": 1})
    encode_dataset(config, dataset, str(tmp_path / "latents"))
    cached = config.reading.model_copy(update={"latents": str(tmp_path / "latents")})
    read, seen = Reader.read, []

    def watched(reader, item):
        found = read(reader, item)
        seen[-1].append((item, found.row))
        return found

    monkeypatch.setattr(Reader, "read", watched)
    for reading in (config.reading, cached):
        seen.append([])
        given = config.model_copy(update={"reading": reading})
        fitted = train(given, dataset, str(tmp_path / f"out-{len(seen)}"))
        assert (fitted.done, fitted.bad_rows) == (True, 1)
        seen[-1].sort(key=lambda one: one[0].seed)
    assert seen[0] == seen[1]
    rows = {item.row: row for item, row in seen[0]}
    assert rows == {row: row for row in (0, 2, 3, 4, 5)} | {unreadable: instead}


def test_where_nothing_is_readable_the_first_item_is_refused(tmp_path):
    dataset = write_dataset(tmp_path / "pairs", rows=(1,), unreadable=0)
    for side in both(configuration(), dataset, tmp_path / "out"):
        with pytest.raises(InputError, match="must hold pictures that can be read, got none in"):
            side.reader.read(StepPair(0, False, "nothing", 1, 2))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, "model"),
        ({"law": {"buckets": True}}, "buckets"),
        ({"law": {"dtype": "float64"}}, "dtype"),
    ],
    ids=["weights", "buckets", "dtype"],
)
def test_latents_of_another_law_are_refused(dataset, tmp_path, other, named):
    encode_dataset(configuration(), dataset, str(tmp_path / "latents"))
    config = configuration(reading={"latents": str(tmp_path / "latents")}, **other)
    with pytest.raises(RunMismatch, match=f"differing: {named}"):
        prepare(config, dataset, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_changed_byte_of_the_data_is_found(dataset, tmp_path):
    record = encode_dataset(configuration(), dataset, str(tmp_path))
    pairs = Dataset.open(dataset)
    law = latents_law(configuration().law, pairs.columns, pairs.digest)
    path = tmp_path / record.units[1].line.data_key
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    reader = open_latents(str(tmp_path), law, pairs.index)
    with pytest.raises(Damaged, match=r"000001-.*must have sha256"):
        reader.read(StepPair(record.units[0].slice.rows, False, "nothing", 1, 2))
    path.write_bytes(data[:-1])
    with pytest.raises(Damaged, match=rf"000001-.*must be {len(data)} bytes, got {len(data) - 1}"):
        open_latents(str(tmp_path), law, pairs.index)
    path.unlink()
    with pytest.raises(Damaged, match=rf"000001-.*must be {len(data)} bytes, got nothing"):
        open_latents(str(tmp_path), law, pairs.index)


def test_any_number_of_files_is_read_with_few_mapped_at_once(dataset, tmp_path, monkeypatch):
    record = encode_dataset(configuration(), dataset, str(tmp_path))
    pairs = Dataset.open(dataset)
    law = latents_law(configuration().law, pairs.columns, pairs.digest)
    readable = [row for row in range(len(pairs)) if row != UNREADABLE]

    def read(reader):
        items = [StepPair(row, False, "nothing", 1, 2) for row in reversed(readable)]
        return reader.encode([reader.read(item) for item in items])

    wanted = read(open_latents(str(tmp_path), law, pairs.index))
    monkeypatch.setattr(latents, "MOST_MAPPED", 1)
    few = open_latents(str(tmp_path), law, pairs.index)
    found = read(few)
    assert len(record.units) > 2
    assert few._mapped.cache_info().currsize == 1
    assert all(torch.equal(one, other) for one, other in zip(found[:3], wanted[:3], strict=True))
    assert all(
        torch.equal(one.tokens, w.tokens) for one, w in zip(found[3], wanted[3], strict=True)
    )


def test_data_of_another_store_is_fetched_once_and_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record = encode_dataset(configuration(), dataset, str(tmp_path / "out"))

    class Remote:
        """Not a folder, as far as the shelf knows."""

        uri = "s3://bucket/latents"
        asked: list[str] = []

        def get(self, key):
            self.asked.append(key)
            return LocalStore(tmp_path / "out").get(key)

        def list(self, prefix):
            return LocalStore(tmp_path / "out").list(prefix)

    pairs = Dataset.open(dataset)
    for _ in range(2):
        reader = LatentReader(Remote(), record, pairs.index)
        rows = [reader.read(StepPair(row, False, "nothing", 1, 2)).row for row in range(len(pairs))]
    assert sorted(Remote.asked) == sorted(unit.line.data_key for unit in record.units)
    assert rows == [row + (row == UNREADABLE) for row in range(len(pairs))]


@pytest.mark.long
def test_a_training_uses_the_latents_beside_its_dataset_and_makes_the_same_editor(tmp_path):
    dataset = write_dataset(tmp_path / "pairs", rows=(6,), unreadable=None)
    config, found = configuration(), []
    for name in ("online", "cached"):
        prepared = prepare(config, dataset, str(tmp_path / name))
        assert (prepared[0].reading.latents is None) == (name == "online")
        assert fit(*prepared, say=lambda line: None).done
        found.append(editor_weights(tmp_path / name))
        encode_dataset(config, dataset, f"{dataset}/latents")
    assert found[0] == found[1]


def editor_weights(out):
    path = out / "editor" / "unet" / "diffusion_pytorch_model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_latents_beside_a_dataset_that_are_another_laws_are_left_alone_and_named(tmp_path):
    dataset = write_dataset(tmp_path / "pairs", rows=(6,), unreadable=None)
    encode_dataset(configuration(seed=1), dataset, f"{dataset}/latents")
    said = []
    config, _, _ = prepare(configuration(), dataset, str(tmp_path / "out"), said.append)
    assert config.reading.latents is None
    assert [line for line in said if line.startswith(dataset)] == [
        f"{dataset}/latents: latents by other models or of other pairs; pictures are encoded as they come"
    ]
