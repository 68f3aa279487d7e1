"""What is known of a dataset before a picture is read: of the whole, of a file, of files that changed."""

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.index import find_index, store_index
from factory.dataset.scan import scan
from factory.errors import Damaged, InputError
from factory.storage.local import LocalStore
from tests.trainer.small import png, write_pairs


def test_a_file_that_changes_while_it_is_trained_on_is_refused_when_it_is_read(tmp_path):
    pairs = Dataset.open(write_pairs(tmp_path, files=2))
    (tmp_path / "part-1.parquet").write_bytes((tmp_path / "part-0.parquet").read_bytes())
    assert pairs.pair(0).original == png(0)
    with pytest.raises(InputError, match=r"part-1\.parquet: must be the file that it was when"):
        pairs.pair(len(pairs) - 1)


def test_an_index_is_what_was_scanned_or_is_refused(tmp_path):
    pairs, store = Dataset.open(write_pairs(tmp_path / "pairs")), LocalStore(tmp_path / "out")
    store_index(store, pairs.index)
    found = find_index(store, pairs.digest)
    assert found is not None
    assert found.digest == scan(pairs.shelf, pairs.columns)[0].digest
    assert find_index(store, "0" * 64) is None
    (path,) = (tmp_path / "out" / "dataset").iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="not the index that its root names"):
        find_index(store, pairs.digest)
    path.write_bytes(data[:20])
    with pytest.raises(Damaged, match="not an index"):
        find_index(store, pairs.digest)


def test_rows_of_one_file_are_those_of_the_whole(tmp_path):
    pairs = Dataset.open(write_pairs(tmp_path, prompts=5, files=3))
    parts = [pairs.index.of_file(name) for name in pairs.index.files]
    assert [len(part) for part in parts] == [4, 4, 2]
    for name in ("group", "offset", "prompt", "instruction"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(pairs.index, name))
