"""A dataset in a store: captions, and pictures that are seen once, are read where they lie."""

import io
import os
import random

import pytest

from factory.dataset.scan import scan
from factory.errors import InputError, ObjectMissing, StorageRefused, StorageUnavailable
from factory.storage.local import LocalStore
from factory.storage.remote_file import TAIL, RemoteFile
from factory.storage.shelf import Shelf
from schemas.training.fit import Columns
from tests.chaos.stores.memory_store import MemoryStore
from tests.trainer.small import write_pairs


class Watched(MemoryStore):
    """Remembers which parts were asked for."""

    def __init__(self):
        super().__init__()
        self.parts = []

    def get(self, key):
        raise AssertionError(f"{key} was fetched whole")

    def get_part(self, key, first, count):
        self.parts.append((first, count))
        return self.objects[key][first : first + count]


@pytest.mark.parametrize("size", [0, 1, TAIL - 1, TAIL, TAIL + 1, 3 * TAIL])
def test_it_reads_as_a_file_in_memory(size):
    store, draw = Watched(), random.Random(size)
    data = draw.randbytes(size)
    store.put("a", data)
    ours, theirs = RemoteFile(store, "a"), io.BytesIO(data)
    assert ours.readable()
    assert ours.seekable()
    for _ in range(200):
        whence = draw.randrange(3)
        offset = draw.randint(0, size + 5) if whence == 0 else -draw.randint(0, theirs.tell())
        if whence == 2:
            offset = -draw.randint(0, size)
        assert ours.seek(offset, whence) == theirs.seek(offset, whence)
        count = draw.choice([0, 1, 7, TAIL, size, -1, None])
        assert ours.read(count) == theirs.read(count)
        assert ours.tell() == theirs.tell()


def test_a_small_file_comes_at_once():
    store = Watched()
    store.put("a", b"12345")
    file = RemoteFile(store, "a")
    assert (file.read(2), file.read()) == (b"12", b"345")
    assert len(store.parts) == 1


def test_a_file_that_is_gone_is_missing():
    with pytest.raises(ObjectMissing, match="a: no such object"):
        RemoteFile(Watched(), "a")


@pytest.fixture
def large(tmp_path):
    """A file of over a MiB, and a store that holds it."""
    picture = {"bytes": os.urandom(3 * TAIL), "path": "a.png"}
    folder = write_pairs(tmp_path / "pairs", files=1, original_image=picture, edited_image=picture)
    data = (tmp_path / "pairs" / "part-0.parquet").read_bytes()
    assert len(data) > 6 * TAIL
    store = Watched()
    store.put("part-0.parquet", data)
    return store, folder, data


def test_of_a_large_file_captions_alone_are_fetched(large):
    store, folder, _ = large
    found, _ = scan(Shelf(store, ["part-0.parquet"]), Columns())
    assert found.digest == scan(Shelf(LocalStore(folder), ["part-0.parquet"]), Columns())[0].digest
    assert sum(count for _, count in store.parts) < 2 * TAIL


def test_what_is_no_parquet_file_is_refused_by_its_end(tmp_path):
    store = Watched()
    # What would be a footer's length of a GiB.
    store.put("a.parquet", os.urandom(20 * TAIL) + b"\0\0\0\x40....")
    with pytest.raises(InputError, match=r"a\.parquet: not a Parquet file: ArrowInvalid"):
        scan(Shelf(store, ["a.parquet"]), Columns())
    assert sum(count for _, count in store.parts) == TAIL


def test_what_the_store_refuses_meanwhile_is_the_stores_error(large, monkeypatch):
    store, *_ = large
    plain = store.get_part

    def refusing(key, first, count):
        if first < 1000:
            raise StorageRefused("s3://there/a: AccessDenied")
        return plain(key, first, count)

    monkeypatch.setattr(store, "get_part", refusing)
    with pytest.raises(StorageRefused, match=r"^s3://there/a: AccessDenied$"):
        scan(Shelf(store, ["part-0.parquet"]), Columns())


def test_a_part_that_comes_cut_is_read_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    store = Watched()
    data = random.Random(1).randbytes(3 * TAIL)
    store.put("a", data)
    left = [2]

    def cut(key, first, count):
        left[0] -= 1
        return data[first : first + count][: -1 if left[0] >= 0 else None]

    monkeypatch.setattr(store, "get_part", cut)
    file = RemoteFile(store, "a")
    left[0] = 2
    assert file.read(10) == data[:10]
    left[0] = 10**6
    with pytest.raises(StorageUnavailable, match="must hold 10 bytes from byte 10 on, got 9"):
        file.read(10)
