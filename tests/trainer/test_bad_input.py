"""What a training skips and counts; what it refuses stands in `tests/bad_input`."""

import struct
import zlib

import pytest

from tests.trainer.small import png, small, train, write_pairs
from trainer.fit import prepare


def bomb():
    """A PNG that says it has a billion pixels."""
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    data = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("data", [png(1)[:200], bomb(), b""], ids=["cut", "bomb", "empty"])
def test_unreadable_rows_are_skipped_and_counted_once_up_to_the_limit(tmp_path, data):
    # Row 3 is held out for the sheet.
    bad = {"bytes": data, "path": "x"}
    dataset = write_pairs(tmp_path / "pairs", prompts=4, pairs=1, edited_image=bad)
    config = small(reading={"max_bad": 1}, watching={"sheet_pairs": 1, "sheet_every": 2})
    found = train(config, dataset, tmp_path / "out")
    assert (found.done, found.bad_rows) == (True, 1)


def test_places_are_made_absolute_because_workers_run_elsewhere(tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs")
    monkeypatch.chdir(tmp_path)
    _, dataset, out = prepare(small(), "pairs", "out")
    assert (dataset.uri, out.uri) == (str(tmp_path / "pairs"), str(tmp_path / "out"))
