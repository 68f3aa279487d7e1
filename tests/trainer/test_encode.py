"""`encode`: what it stores, and that it can die anywhere."""

import os
import signal

import pytest
import torch
from safetensors.torch import load

from factory import deeds
from factory.dataset.dataset import Dataset
from factory.dataset.index import instruction_name
from factory.errors import Damaged, EditmillError, InputError, RunMismatch, StorageRefused
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from tests.trainer.encoded import INSTRUCTIONS, UNREADABLE, configuration, write_dataset
from trainer.latents.encode import encode_dataset, encode_here
from trainer.latents.encoder import Encoder
from trainer.latents.encoding import committed_units, find_latents_record, plan_units
from trainer.learning.conditions import Conditions


@pytest.fixture(autouse=True)
def _small_and_alone(small_units):
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("pairs"))


def stored(folder):
    """Every object by its key."""
    return {o.key: LocalStore(folder).get(o.key) for o in LocalStore(folder).list()}


class Killed(BaseException):
    """Stands for a process that is gone: nothing may catch it."""


class Mortal(LocalStore):
    """Dies at its n-th write, before anything is written."""

    def __init__(self, folder, after):
        super().__init__(folder)
        self.left = after

    def _die(self):
        self.left -= 1
        if self.left == 0:
            raise Killed

    def put(self, key, data):
        self._die()
        super().put(key, data)

    def put_new(self, key, data):
        self._die()
        return super().put_new(key, data)


def test_every_row_has_latents_or_is_named_as_unreadable(dataset, tmp_path):
    config = configuration(law={"buckets": True})
    record = encode_dataset(config, dataset, str(tmp_path))
    assert [(u.file, u.first, u.rows) for u in record.units] == [
        ("part-0.parquet", 0, 3),
        ("part-0.parquet", 3, 3),
        ("part-0.parquet", 6, 1),
        ("part-1.parquet", 0, 3),
        ("part-1.parquet", 3, 1),
    ]
    for unit in record.units:
        tensors = load(LocalStore(tmp_path).get(unit.key))
        there = sorted(r for n, t in tensors.items() if n.startswith("rows.") for r in t.tolist())
        lacking = [one.row for one in unit.unreadable]
        assert sorted(there + lacking) == list(range(unit.rows))
        assert [unit.first + row for row in lacking] == ([UNREADABLE] if unit.unit == 1 else [])
    assert record.unreadable == 1
    assert record.rows == 11


def test_a_context_is_stored_once_per_distinct_instruction(dataset, tmp_path):
    record = encode_dataset(configuration(), dataset, str(tmp_path))
    names = []
    for unit in record.units:
        tensors = load(LocalStore(tmp_path).get(unit.key))
        found = [bytes(name.tolist()) for name in tensors["instructions"]]
        assert len(found) == len(tensors.get("contexts", ()))
        names += found
    assert len(names) == len(set(names))
    assert set(names) == {instruction_name(words) for words in INSTRUCTIONS}


def test_every_pass_of_the_autoencoder_has_one_shape(dataset, tmp_path, monkeypatch):
    shapes, plain = set(), Conditions.latents

    def watched(self, pictures):
        shapes.add(tuple(pictures.shape))
        return plain(self, pictures)

    monkeypatch.setattr(Conditions, "latents", watched)
    encode_dataset(configuration(compute={"micro_batch": 5}), dataset, str(tmp_path))
    assert shapes == {(5, 3, 16, 16)}


def test_two_encodings_are_equal_byte_for_byte(dataset, tmp_path):
    first = encode_dataset(configuration(), dataset, str(tmp_path / "a"))
    again = encode_dataset(configuration(), dataset, str(tmp_path / "b"))
    assert first == again
    assert stored(tmp_path / "a") == stored(tmp_path / "b")


@pytest.mark.long
def test_dying_at_any_write_loses_nothing(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "pairs", rows=(4, 1), unreadable=0)
    encoder = Encoder.of(configuration())
    monkeypatch.setattr("trainer.latents.encode.Encoder.of", lambda config: encoder)
    encode_dataset(configuration(), dataset, str(tmp_path / "whole"))
    whole = stored(tmp_path / "whole")
    assert len(whole) == 9
    for after in range(1, len(whole) + 1):
        out = str(tmp_path / f"{after}")
        opened = {out: Mortal(out, after)}
        with monkeypatch.context() as patch:
            patch.setattr(
                "trainer.latents.encode.open_store",
                lambda uri, o=opened: o.get(uri) or open_store(uri),
            )
            with pytest.raises(Killed):
                encode_dataset(configuration(), dataset, out)
        # Whatever is listed as committed has its data, and nothing is called whole too early.
        store = LocalStore(out)
        for number in committed_units(store):
            assert any(o.key.startswith(f"data/{number:06d}-") for o in store.list())
        assert find_latents_record(store) is None
        encode_dataset(configuration(), dataset, out)
        assert stored(out) == whole


def test_a_rerun_makes_only_what_is_missing(dataset, tmp_path):
    made = []

    def runner(config, source, out, record, units):
        for unit in units[:2]:
            yield from encode_here(config, source, out, record, [unit])

    def watched(config, source, out, record, units):
        made.extend(unit.number for unit in units)
        yield from encode_here(config, source, out, record, units)

    with pytest.raises(Damaged, match="must be there before sealing"):
        encode_dataset(configuration(), dataset, str(tmp_path), runner)
    encode_dataset(configuration(), dataset, str(tmp_path), watched)
    assert made == [2, 3, 4]
    encode_dataset(configuration(), dataset, str(tmp_path), watched)
    assert made == [2, 3, 4]


def test_sigterm_ends_it_after_a_unit_and_a_rerun_goes_on(dataset, tmp_path):
    def tell(done, of, unreadable):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(EditmillError, match="run the same command to resume") as stopped:
        encode_dataset(configuration(), dataset, str(tmp_path), tell=tell)
    assert stopped.value.exit_code == 3
    assert committed_units(LocalStore(tmp_path)) == {0, 1}
    assert len(encode_dataset(configuration(), dataset, str(tmp_path)).units) == 5


def test_a_root_takes_one_law_only_and_says_what_differs(dataset, tmp_path):
    record = encode_dataset(configuration(), dataset, str(tmp_path))
    parts = {name.partition("/")[0] for name in record.law.model}
    assert {"vae", "text_encoder", "tokenizer"} <= parts
    assert not parts & {"unet", "scheduler"}
    with pytest.raises(RunMismatch, match="size_px: 16 -> 8"):
        encode_dataset(configuration(law={"size_px": 8}), dataset, str(tmp_path))
    with pytest.raises(RunMismatch, match=r"model.*safetensors"):
        encode_dataset(configuration(seed=1), dataset, str(tmp_path))
    # These decide no latent.
    other = configuration(law={"steps": 9, "seed": 5, "dtype": "bfloat16", "learning_rate": 1.0})
    encode_dataset(other, dataset, str(tmp_path))


def test_lost_data_of_a_committed_unit_is_not_sealed(dataset, tmp_path):
    store = LocalStore(tmp_path)

    def forgetful(config, source, out, record, units):
        for made in encode_here(config, source, out, record, units):
            store.delete(made.key)
            yield made

    with pytest.raises(Damaged, match=r"got nothing; remove units/000000\.json"):
        encode_dataset(configuration(), dataset, str(tmp_path), forgetful)
    assert find_latents_record(store) is None


def test_weights_that_are_not_pinned_are_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="must be pinned"):
        encode_dataset(configuration(pinned=False), dataset, str(tmp_path))


def test_units_do_not_depend_on_how_far_an_encoding_came(dataset):
    pairs = Dataset.open(dataset)
    units = plan_units(pairs.index, 2)
    assert units == plan_units(Dataset.open(dataset).index, 2)
    assert sum(unit.rows for unit in units) == len(pairs)


@pytest.mark.parametrize(("after", "code"), [(0, 2), (2, 3), (3, 3)])
def test_keys_that_expire_end_it_with_2_only_before_anything_was_written(
    dataset, tmp_path, monkeypatch, after, code
):
    class Expiring(Mortal):
        def _die(self):
            self.left -= 1
            if self.left < 0:
                raise StorageRefused("PutObject answered 400 ExpiredToken")

    out = str(tmp_path / "latents")
    store = Expiring(out, after)
    monkeypatch.setattr(
        "trainer.latents.encode.open_store", lambda uri: store if uri == out else open_store(uri)
    )
    deeds.anew()
    with pytest.raises(StorageRefused) as raised:
        encode_dataset(configuration(), dataset, out)
    assert deeds.exit_code(raised.value) == code
