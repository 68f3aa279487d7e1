"""What a training skips and counts; what it refuses stands in `tests/bad_input`."""

import struct
import zlib

import pytest

from factory import deeds
from factory.dataset.dataset import Dataset
from factory.errors import InputError
from tests.trainer.small import png, small, train, write_pairs
from trainer.feeding.feed import AHEAD
from trainer.feeding.hold_out import hold_out
from trainer.fit import prepare
from trainer.learning.order import Order


def bomb():
    """A PNG that says it has a billion pixels."""
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    data = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(1)[:200], id="cut", marks=pytest.mark.long),
        pytest.param(bomb(), id="bomb"),
        pytest.param(b"", id="empty", marks=pytest.mark.long),
    ],
)
def test_unreadable_rows_are_skipped_and_counted_once_up_to_the_limit(tmp_path, data):
    # Row 3 is held out for the sheet.
    bad = {"bytes": data, "path": "x"}
    dataset = write_pairs(tmp_path / "pairs", prompts=4, pairs=1, edited_image=bad)
    config = small(reading={"max_bad": 1}, watching={"sheet_pairs": 1, "sheet_every": 2})
    found = train(config, dataset, tmp_path / "out")
    assert (found.done, found.bad_rows) == (True, 1)


@pytest.mark.parametrize(("before", "code"), [(0, 2), (AHEAD + 1, 3)], ids=["none", "some"])
def test_an_unreadable_row_ends_with_3_once_a_step_is_done(tmp_path, before, code):
    """`before` it stand so many others; while the first step is made, no more than `AHEAD` are read."""
    dataset = write_pairs(
        tmp_path / "pairs", prompts=6, pairs=1, edited_image={"bytes": b"", "path": "x"}
    )
    opened = Dataset.open(dataset)
    trained, _ = hold_out(opened.prompts, 0, 1)
    names, rows = [opened.prompts[i] for i in trained], [opened.rows[i] for i in trained]
    law = {"batch": 1, "steps": 5}

    def is_there(seed):
        return rows[Order(seed, names, rows, 1).place(before, 0)[1]] == [0]

    law["seed"] = next(seed for seed in range(100) if is_there(seed))
    deeds.anew()
    with pytest.raises(InputError, match=r"reading.max_bad is 0, got 1 row ") as ended:
        train(small(law=law, compute={"micro_batch": 1}), dataset, tmp_path / "out")
    assert deeds.exit_code(ended.value) == code


def test_places_are_made_absolute_because_workers_run_elsewhere(tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs")
    monkeypatch.chdir(tmp_path)
    _, dataset, out = prepare(small(), "pairs", "out")
    assert (dataset.uri, out.uri) == (str(tmp_path / "pairs"), str(tmp_path / "out"))
