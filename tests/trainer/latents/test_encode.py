"""`encode`: what it stores, and that it can die anywhere."""

import io
import json
import os
import signal
import time

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load
from typer.testing import CliRunner

from editmill import app
from factory import deeds
from factory.dataset.dataset import Dataset
from factory.dataset.index import instruction_name
from factory.deeds import PROBES
from factory.errors import Damaged, EditmillError, InputError, RunMismatch, StorageRefused
from factory.ledger import keys
from factory.ledger.keys import COMMITS
from factory.ledger.run import open_run
from factory.ledger.units.commits import committed_units
from factory.ledger.verify.run import verify
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.untrusted_image.decoder import ImageRefused
from factory.work.plain_loop import run_here
from factory.work.unit import fail_unit
from schemas.arrow import file_metadata
from schemas.ledger.layout import GENERATE, NAMES
from schemas.training.latents import ENCODE
from tests.trainer.encoded import INSTRUCTIONS, UNREADABLE, configuration, write_dataset
from trainer.latents.encode import encode_dataset
from trainer.latents.encoder import Encoder
from trainer.latents.reader import find_latents, open_latents
from trainer.latents.slices import cut
from trainer.learning.conditions import Conditions
from trainer.learning.order import StepPair


def everything(folder):
    """Every object by its key."""
    store = LocalStore(folder)
    return {info.key: store.get(info.key) for info in store.list()}


def stored(folder):
    """As `everything`, but for commits: those hold times and attempts."""
    found = everything(folder)
    return {key: found[key] for key in found if not key.startswith((COMMITS, PROBES))}


class Killed(BaseException):
    """Stands for a process that is gone: nothing may catch it."""


class Mortal(LocalStore):
    """Dies at its n-th write, before anything is written."""

    def __init__(self, folder, after):
        super().__init__(folder)
        self.left = after

    def _die(self, key):
        self.left -= not key.startswith(PROBES)
        if self.left == 0:
            raise Killed

    def put(self, key, data):
        self._die(key)
        super().put(key, data)

    def put_new(self, key, data):
        self._die(key)
        return super().put_new(key, data)


def test_every_row_has_latents_or_is_named_as_unreadable(dataset, tmp_path):
    config = configuration(law={"buckets": True})
    record = encode_dataset(config, dataset, str(tmp_path))
    assert [(u.slice.file, u.slice.first, u.slice.rows) for u in record.units] == [
        ("part-0.parquet", 0, 3),
        ("part-0.parquet", 3, 3),
        ("part-0.parquet", 6, 1),
        ("part-1.parquet", 0, 3),
        ("part-1.parquet", 3, 1),
    ]
    for number, unit in enumerate(record.units):
        tensors = load(LocalStore(tmp_path).get(unit.line.data_key))
        there = sorted(r for n, t in tensors.items() if n.startswith("rows.") for r in t.tolist())
        lacking = [row for row, why in enumerate(record.reasons(number)) if why]
        assert len(lacking) == unit.unreadable
        assert sorted(there + lacking) == list(range(unit.slice.rows))
        assert [unit.slice.first + row for row in lacking] == ([UNREADABLE] if number == 1 else [])
    assert record.unreadable == 1
    assert record.rows == 11


def test_a_context_is_stored_once_per_distinct_instruction(dataset, tmp_path):
    record = encode_dataset(configuration(), dataset, str(tmp_path))
    names = []
    for unit in record.units:
        tensors = load(LocalStore(tmp_path).get(unit.line.data_key))
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
    assert [unit.line for unit in first.units] == [unit.line for unit in again.units]
    assert stored(tmp_path / "a") == stored(tmp_path / "b")


@pytest.mark.long
def test_dying_at_any_write_loses_nothing(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "pairs", rows=(4, 1), unreadable=0)
    encoder = Encoder.of(configuration().law, configuration().compute)
    monkeypatch.setattr("trainer.latents.encode.Encoder.of", lambda law, compute: encoder)
    monkeypatch.setattr("factory.storage.probe.ROUNDS", 1)
    counted = str(tmp_path / "whole")
    opened = {counted: Mortal(counted, -1)}
    monkeypatch.setattr(
        "trainer.latents.encode.open_store", lambda uri: opened.get(uri) or open_store(uri)
    )
    encode_dataset(configuration(), dataset, counted)
    whole, writes = stored(counted), -1 - opened[counted].left
    assert len(committed(counted)) == 3
    for after in range(1, writes + 1):
        out = str(tmp_path / f"{after}")
        opened[out] = Mortal(out, after)
        with pytest.raises(Killed):
            encode_dataset(configuration(), dataset, out)
        # Whatever is listed as committed has its data, and nothing is called whole too early.
        store = LocalStore(out)
        for number in committed(out):
            assert any(o.key.startswith(f"data/{number:08d}-") for o in store.list())
        assert find_latents(store) is None
        del opened[out]
        encode_dataset(configuration(), dataset, out)
        assert stored(out) == whole
        assert verify(open_run(out)).damages == []


def committed(folder):
    return set(committed_units(LocalStore(folder)))


def test_a_rerun_makes_only_what_is_missing(dataset, tmp_path):
    made = []

    def some(stage):
        def runner(run, plan, units, terms, should_stop):
            yield from run_here(stage)(run, plan, units[:2], terms, should_stop)

        return runner

    def watched(stage):
        def runner(run, plan, units, terms, should_stop):
            made.extend(units)
            yield from run_here(stage)(run, plan, units, terms, should_stop)

        return runner

    with pytest.raises(EditmillError, match="3 of 5 units are not committed"):
        encode_dataset(configuration(), dataset, str(tmp_path), some)
    encode_dataset(configuration(), dataset, str(tmp_path), watched)
    assert made == [2, 3, 4]
    encode_dataset(configuration(), dataset, str(tmp_path), watched)
    assert made == [2, 3, 4]


def test_sigterm_ends_it_after_a_unit_and_a_rerun_goes_on(dataset, tmp_path):
    def until_the_second(stage):
        def runner(*arguments):
            for number, report in enumerate(run_here(stage)(*arguments)):
                if number == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield report

        return runner

    with pytest.raises(EditmillError, match="run the same command to resume") as stopped:
        encode_dataset(configuration(), dataset, str(tmp_path), until_the_second)
    assert stopped.value.exit_code == 3
    assert committed(tmp_path) == {0, 1}
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

    def forgetful(stage):
        def runner(*arguments):
            for report in run_here(stage)(*arguments):
                for info in list(store.list("data/")):
                    store.delete(info.key)
                yield report

        return runner

    with pytest.raises(Damaged, match=r"data/00000000-.*commit names \d+ bytes, got none"):
        encode_dataset(configuration(), dataset, str(tmp_path), forgetful)
    assert find_latents(store) is None


def test_a_unit_that_is_given_up_is_failed_and_made_again_on_demand(dataset, tmp_path):
    """Its rows are passed over by a training, and so are those whose instruction it holds."""
    config = configuration(reading={"latents": str(tmp_path / "a"), "max_bad": 20})
    whole = encode_dataset(config, dataset, str(tmp_path / "whole"))

    def poisoned(stage):
        def runner(run, plan, units, terms, should_stop):
            fail_unit(stage, run, plan, 1, "poison")
            yield from run_here(stage)(run, plan, units, terms, should_stop)

        return runner

    latents = encode_dataset(config, dataset, str(tmp_path / "a"), poisoned)
    assert [unit.unreadable for unit in latents.units] == [0, 3, 0, 0, 0]
    assert latents.reasons(1) == ["poison"] * 3
    assert verify(open_run(str(tmp_path / "a"))).damages == []
    pairs = Dataset.open(dataset)
    reader = open_latents(str(tmp_path / "a"), latents.law, pairs.index)
    with pytest.raises(ImageRefused, match="poison"):
        reader._content(3, False)
    assert reader.read(StepPair(3, False, "nothing", 1, 2)).row == 6
    # Row 9 says what row 4 of the failed unit said first.
    with pytest.raises(ImageRefused, match="instruction of unit 1, which was given up"):
        reader._content(9, False)
    again = encode_dataset(config, dataset, str(tmp_path / "a"), retry_failed=True)
    assert [unit.line for unit in again.units] == [unit.line for unit in whole.units]


GENERATES = {
    *NAMES["generate"].values(),
    *(*GENERATE.counts[:2], *GENERATE.marks),
    *("triplet_id", "original_prompt", "edited_prompt", "clip_sim_dir"),
}
LINE = {"unit", "outcomes_sha256", "encoded", "failed", "data_key", "data_sha256", "data_bytes"}


def names_in(value):
    """Of all fields, however deep."""
    if isinstance(value, dict):
        return {*value, *(name for one in value.values() for name in names_in(one))}
    return {name for one in value for name in names_in(one)} if isinstance(value, list) else set()


def test_what_is_stored_has_columns_of_its_own_and_none_of_generates(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)
    encode_dataset(configuration(), dataset, str(tmp_path))
    columns, names = {}, {}
    for key, data in everything(tmp_path).items():
        folder = key.partition("/")[0] + "/parts" * ("/parts/" in key)
        found = names.setdefault(folder, set())
        if key.endswith(".parquet"):
            columns.setdefault(folder, set()).update(pq.read_schema(io.BytesIO(data)).names)
            found |= names_in(json.loads(file_metadata(data).get("editmill", "{}")))
        elif key.endswith(".json"):
            found |= names_in(json.loads(data))
    assert columns["commits"] == set(ENCODE.outcomes)
    assert columns["manifest/parts"] == LINE
    assert columns["segments"] == LINE | {
        *("generation", "attempt", "commit_sha256", "tally", "seconds")
    }
    assert {"outcomes_sha256", "data", "encoded", "failed", "tally"} <= names["commits"]
    assert {"encoded", "failed", "parts", "items"} <= names["manifest"]
    # Its recipe names the columns of the dataset that is read.
    names["RUN.json"] -= {"edited_prompt", "original_prompt"}
    for folder, found in [*columns.items(), *names.items()]:
        assert not found & GENERATES, folder


def test_verbs_on_a_run_know_a_root_of_latents_without_knowing_it(dataset, tmp_path):
    out = str(tmp_path / "latents")
    encode_dataset(configuration(), dataset, out)

    def call(*words):
        return json.loads(CliRunner().invoke(app, [*words, out, "--json"]).stdout)

    state = call("status")
    assert state["counts"] == {"encoded": 10, "failed": 1}
    assert (state["slices"], state["committed_units"]) == (5, 5)
    assert call("verify")["damages"] == []
    assert call("seal")["encoded"] == 10
    assert call("gc")["objects"] == 0
    (tmp_path / "latents/data/00000002-0123456789abcdef.safetensors").write_bytes(b"lost")
    old = time.time() - 48 * 3600
    for path in (tmp_path / "latents/data").iterdir():
        os.utime(path, (old, old))
    assert call("gc")["garbage"] == [
        "data/00000002-0123456789abcdef.safetensors  data of a lost attempt"
    ]
    (tmp_path / "latents" / "RUN.json").unlink()
    assert CliRunner().invoke(app, ["status", out]).exit_code == 2


def test_weights_that_are_not_pinned_are_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="must be pinned"):
        encode_dataset(configuration(pinned=False), dataset, str(tmp_path))


def test_units_do_not_depend_on_how_far_an_encoding_came(dataset):
    pairs = Dataset.open(dataset)
    slices = cut(pairs.index, 16)
    assert slices == cut(Dataset.open(dataset).index, 16)
    assert sum(one.rows for one in slices) == len(pairs)


@pytest.mark.parametrize(("after", "code"), [(0, 2), (1, 3), (4, 3)])
def test_keys_that_expire_end_it_with_2_only_before_anything_was_written(
    dataset, tmp_path, monkeypatch, after, code
):
    class Expiring(Mortal):
        def _die(self, key):
            self.left -= not key.startswith(PROBES)
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
