"""What a training refuses, skips and counts; nothing that was there is harmed."""

import io
import struct
import zlib

import pytest
from PIL import Image

from factory.errors import Damaged, InputError, RunMismatch
from factory.storage.local import LocalStore
from tests.factory.engine.tiny import save_tiny
from tests.trainer.small import objects, png, small, train, write_pairs
from trainer.fit import prepare


def bomb():
    """A PNG that says it has a billion pixels."""
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    data = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + data


def gif():
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "GIF")
    return data.getvalue()


UNREADABLE = {
    "cut": png(1)[:200],
    "empty": b"",
    "text": b"not a picture",
    "bomb": bomb(),
    "another format": gif(),
}


def with_one_bad(folder, data=UNREADABLE["cut"], prompts=4):
    """Row 0 is bad; row 3 is held out for the sheet."""
    bad = {"bytes": data, "path": "x"}
    return write_pairs(folder, prompts=prompts, pairs=1, edited_image=bad)


@pytest.mark.parametrize("kind", ["cut", "bomb", "empty"])
def test_unreadable_rows_are_skipped_and_counted_once_up_to_the_limit(tmp_path, kind):
    dataset = with_one_bad(tmp_path / "pairs", UNREADABLE[kind])
    config = small(reading={"max_bad": 1}, watching={"sheet_pairs": 1, "sheet_every": 2})
    found = train(config, dataset, tmp_path / "out")
    assert (found.done, found.bad_rows) == (True, 1)


def test_more_unreadable_rows_than_allowed_end_it_and_say_which(tmp_path):
    dataset = with_one_bad(tmp_path / "pairs")
    with pytest.raises(InputError) as raised:
        train(small(), dataset, tmp_path / "out")
    said = str(raised.value)
    assert said.startswith("dataset: reading.max_bad is 0, got 1 rows with pictures that cannot")
    assert "; row 0: " in said
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"law": {"seed": 1}}, r"holds a training by another law; differing: seed: 0 -> 1"),
        ({"law": {"learning_rate": 1e-5}}, r"holds a training by another law; differing: learn.*"),
        ({"law": {"batch": 8}}, r"holds a training by another law; differing: batch: 4 -> 8"),
    ],
)
def test_an_output_that_holds_another_training_is_refused_with_what_differs(tmp_path, more, said):
    dataset = write_pairs(tmp_path / "pairs")
    prepare(small(), dataset, str(tmp_path / "out"))
    before = objects(tmp_path / "out")
    with pytest.raises(RunMismatch, match=said):
        prepare(small(**more), dataset, str(tmp_path / "out"))
    assert objects(tmp_path / "out") == before


def test_an_output_that_holds_a_training_on_another_dataset_is_refused(tmp_path):
    prepare(small(), write_pairs(tmp_path / "pairs"), str(tmp_path / "out"))
    other = write_pairs(tmp_path / "other", prompts=9)
    with pytest.raises(RunMismatch, match="holds a training on another dataset"):
        prepare(small(), other, str(tmp_path / "out"))


@pytest.mark.parametrize("key", ["notes.txt", "RUN.json", "editor/model_index.json"])
def test_an_output_that_holds_something_else_is_refused(tmp_path, key):
    LocalStore(tmp_path / "out").put(key, b"mine")
    with pytest.raises(RunMismatch, match=f"must be empty or a training, got '{key}'"):
        prepare(small(), write_pairs(tmp_path / "pairs"), str(tmp_path / "out"))
    assert objects(tmp_path / "out") == {key: b"mine"}


def test_a_damaged_record_of_the_training_is_refused(tmp_path):
    dataset = write_pairs(tmp_path / "pairs")
    prepare(small(), dataset, str(tmp_path / "out"))
    store = LocalStore(tmp_path / "out")
    store.put("FIT.json", store.get("FIT.json")[:-2])
    with pytest.raises(Damaged, match=r"FIT\.json: not a training's record"):
        prepare(small(), dataset, str(tmp_path / "out"))


def test_weights_that_changed_since_are_another_law(tmp_path):
    save_tiny(tmp_path / "model")
    dataset = write_pairs(tmp_path / "pairs")
    config = small(False, law={"model": {"source": str(tmp_path / "model")}})
    prepare(config, dataset, str(tmp_path / "out"))
    prepare(config, dataset, str(tmp_path / "out"))
    save_tiny(tmp_path / "model", seed=1)
    with pytest.raises(RunMismatch, match=r"differing: model"):
        prepare(config, dataset, str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"compute": {"max_workers": 5}}, r"compute\.max_workers: must be at most law\.batch"),
        ({"law": {"size_px": 17}}, r"law\.size_px: must be a multiple of 2 .* got 17"),
        ({"law": {"model": {"source": "nowhere"}}}, "nowhere"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, more, said):
    dataset = write_pairs(tmp_path / "pairs")
    with pytest.raises(InputError, match=said):
        prepare(small(False, **more), dataset, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_places_are_made_absolute_because_workers_run_elsewhere(tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs")
    monkeypatch.chdir(tmp_path)
    _, dataset, out = prepare(small(), "pairs", "out")
    assert (dataset, out) == (str(tmp_path / "pairs"), str(tmp_path / "out"))
