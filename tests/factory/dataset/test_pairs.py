"""Rows by their numbers and prompts, from files that come and go."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset import pairs as pairs_module
from factory.dataset.dataset import Dataset
from factory.errors import InputError
from tests.trainer.small import png, small, write_pairs


def test_rows_that_share_captions_and_instruction_are_one_prompts_pairs(tmp_path):
    pairs = Dataset.open(write_pairs(tmp_path, prompts=7, pairs=2, files=3))
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
    pairs = Dataset.open(str(tmp_path / "own.parquet"), config.reading)
    assert (pairs.pair(0).instruction, pairs.pair(0).edited) == ("make it red", png(2))


def test_a_dataset_is_the_same_wherever_it_lies_and_another_with_other_rows(tmp_path):
    one, same, other = (
        Dataset.open(write_pairs(tmp_path / name, prompts=count)).digest
        for name, count in (("a", 7), ("b", 7), ("c", 8))
    )
    assert one == same != other


def test_threads_may_read_while_row_groups_come_and_go(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs_module, "OPEN_BYTES", 1)
    pairs = Dataset.open(write_pairs(tmp_path, prompts=8, pairs=1, files=8))
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
        Dataset.open(folder)
    path.write_bytes(data[:8] + bytes(len(data) // 2) + data[8 + len(data) // 2 :])
    with pytest.raises(InputError, match=r"part-0\.parquet: row group 0 cannot be read"):
        Dataset.open(folder).pair(0)
