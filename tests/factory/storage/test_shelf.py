"""Files of a remote dataset on this machine: each store's, key's and version's own, and nobody else's."""

import hashlib

import pytest

from factory.errors import Damaged, InputError, ObjectMissing
from factory.storage.shelf import Shelf
from tests.chaos.stores.memory_store import MemoryStore


@pytest.fixture
def store():
    found = MemoryStore()
    found.uri = "s3://bucket/pairs"
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(store, *keys):
    shelf = Shelf(store, list(keys))
    return [shelf.path(number).read_bytes() for number in range(len(keys))]


def test_keys_that_look_alike_are_different_files(store):
    store.put("a/b_c.parquet", b"one")
    store.put("a_b/c.parquet", b"two")
    assert contents(store, "a/b_c.parquet", "a_b/c.parquet") == [b"one", b"two"]


def test_a_dataset_that_was_exported_again_is_fetched_again(store):
    store.put("a.parquet", b"old")
    assert contents(store, "a.parquet") == [b"old"]
    store.clock += 60
    store.put("a.parquet", b"new")
    assert contents(store, "a.parquet") == [b"new"]
    store.put("a.parquet", b"longer")
    assert contents(store, "a.parquet") == [b"longer"]


def test_what_did_not_change_is_fetched_once_and_found_by_later_starts(store, monkeypatch):
    store.put("a.parquet", b"one")
    shelf = Shelf(store, ["a.parquet"])
    place = shelf.path(0)
    monkeypatch.setattr(store, "get", None)
    assert Shelf(store, ["a.parquet"]).path(0) == place
    monkeypatch.setattr(store, "find", None)
    assert shelf.path(0) == place


def test_only_its_user_may_look_into_the_folder(store, cache):
    (cache / "editmill" / "datasets").mkdir(parents=True, mode=0o755)
    store.put("a.parquet", b"one")
    folder = Shelf(store, ["a.parquet"]).path(0).parent
    assert folder == cache / "editmill" / "datasets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.read_bytes() for path in folder.iterdir()] == [b"one"]


def test_a_folder_that_cannot_be_written_is_named(store, cache):
    cache.write_text("in the way")
    store.put("a.parquet", b"one")
    with pytest.raises(InputError, match=r"cache/editmill/datasets: .* \(XDG_CACHE_HOME\)"):
        Shelf(store, ["a.parquet"]).path(0)


def test_a_file_that_is_gone_is_missing(store):
    with pytest.raises(ObjectMissing, match=r"a\.parquet"):
        Shelf(store, ["a.parquet"]).path(0)


@pytest.mark.parametrize("named_by_content", [True, False])
def test_what_comes_cut_is_fetched_again_and_never_kept(
    store, cache, monkeypatch, named_by_content
):
    key = f"pairs/00000000-{hashlib.sha256(b'all of it').hexdigest()[:16]}.parquet"
    store.put(key, b"all of it")
    left = [2]

    def cut(asked):
        left[0] -= 1
        return store.objects[asked][: -1 if left[0] >= 0 else None]

    monkeypatch.setattr(store, "get", cut)
    shelf = Shelf(store, [key], named_by_content=named_by_content)
    assert shelf.path(0).read_bytes() == b"all of it"
    shelf.path(0).unlink()
    left[0] = 10**6
    with pytest.raises(Damaged, match="must be 9 bytes, got 8|not the bytes that it is named by"):
        Shelf(store, [key], named_by_content=named_by_content).path(0)
    assert list((cache / "editmill" / "datasets").iterdir()) == []
