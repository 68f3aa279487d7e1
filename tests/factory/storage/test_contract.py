"""The contract of `ObjectStore`, the same tests for every store."""

import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from factory.deeds import PROBES
from factory.errors import ObjectMissing, StorageRefused
from factory.storage.open import open_store
from factory.storage.probe import probe
from factory.storage.protocol import ObjectInfo, ObjectStore

from .conftest import Place

MEGABYTE = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 3 * MEGABYTE])
def test_what_is_put_is_what_is_got(store: ObjectStore, size: int) -> None:
    data = random.Random(size).randbytes(size)
    store.put("pairs/0000042-0123456789abcdef.parquet", data)
    assert store.get("pairs/0000042-0123456789abcdef.parquet") == data


def test_a_part_is_what_lies_there_and_ends_with_the_object(store: ObjectStore) -> None:
    data = random.Random(1).randbytes(3 * MEGABYTE)
    store.put("a", data)
    for first, count in ((0, 1), (0, len(data)), (5, 70_000), (len(data) - 3, 3)):
        assert store.get_part("a", first, count) == data[first : first + count]
    assert store.get_part("a", len(data) - 3, 1000) == data[-3:]
    assert store.get_part("a", len(data), 1) == b""
    assert store.get_part("a", len(data) + 7, 1000) == b""
    store.put("empty", b"")
    assert store.get_part("empty", 0, 10) == b""


@pytest.mark.parametrize("size", [0, 1, 3 * MEGABYTE])
def test_what_is_put_new_is_what_is_got(store: ObjectStore, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert store.put_new("RUN.json", data) is True
    assert store.get("RUN.json") == data


def test_putting_an_object_twice_is_harmless(store: ObjectStore) -> None:
    store.put("pairs/a", b"same")
    store.put("pairs/a", b"same")
    assert store.get("pairs/a") == b"same"
    assert list(store.list()) == [ObjectInfo("pairs/a", 4)]


def test_put_replaces_an_object_that_was_damaged(store: ObjectStore) -> None:
    store.put("pairs/a", b"whole and sound"[:5])
    store.put("pairs/a", b"whole and sound")
    assert store.get("pairs/a") == b"whole and sound"


def test_put_new_never_changes_what_is_there(store: ObjectStore) -> None:
    assert store.put_new("commits/000000/0000001.parquet", b"first") is True
    assert store.put_new("commits/000000/0000001.parquet", b"second, longer") is False
    assert store.get("commits/000000/0000001.parquet") == b"first"
    store.put("pairs/a", b"put")
    assert store.put_new("pairs/a", b"new") is False
    assert store.get("pairs/a") == b"put"


def test_of_eight_writers_of_one_new_key_one_wins(strong_store: ObjectStore) -> None:
    store = strong_store
    for turn in range(10):
        together = threading.Barrier(8)

        def write(
            number: int, key: str = f"commits/{turn}", together: threading.Barrier = together
        ) -> bool:
            together.wait()
            return store.put_new(key, bytes([number]) * (1000 + number))

        with ThreadPoolExecutor(8) as pool:
            won = [number for number, wins in enumerate(pool.map(write, range(8))) if wins]
        assert len(won) == 1
        assert store.get(f"commits/{turn}") == bytes(won) * (1000 + won[0])


def test_a_missing_object_is_reported_as_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match="commits/0"):
        store.get("commits/0")
    with pytest.raises(ObjectMissing, match="commits/0"):
        store.get_part("commits/0", 0, 1)
    assert store.find("commits/0") is None
    store.put("commits/000", b"")
    with pytest.raises(ObjectMissing):
        store.get("commits/0")
    assert store.find("commits/0") is None
    with pytest.raises(ObjectMissing):
        store.get("commits")
    assert store.find("commits") is None
    assert store.find("commits/000/deeper") is None


def test_find_tells_the_size(store: ObjectStore) -> None:
    store.put("pairs/a", b"12345")
    store.put("pairs/empty", b"")
    assert store.find("pairs/a") == ObjectInfo("pairs/a", 5)
    assert store.find("pairs/empty") == ObjectInfo("pairs/empty", 0)


def test_a_listing_is_in_key_order_whatever_the_folders(store: ObjectStore) -> None:
    keys = [
        "Z",
        "a",
        "a-b",
        "a-b/c",
        "a.b",
        "a0",
        "aa/b",
        "ab/c/d",
        "ab/c0",
        "ab/cc",
        "b/1",
        "b/10",
        "b/2",
    ]
    nested = [key + "/x" for key in ("e", "e-f", "e.f", "e0", "e_f", "eF", "ef")]
    del keys[keys.index("a-b")]
    for key in random.Random(1).sample(keys + nested, len(keys + nested)):
        store.put(key, key.encode())
    expected = [ObjectInfo(key, len(key)) for key in sorted(keys + nested)]
    assert list(store.list()) == expected


def test_a_listing_holds_the_keys_with_that_beginning(store: ObjectStore) -> None:
    keys = ["comments", "commits/000000/0", "commits/000000/1", "commits/000001/2", "strikes/0"]
    for key in keys:
        store.put(key, b"")
    for prefix in (
        *("commits/", "commits/000000", "commits/000000/", "commits/000000/1", "com", ""),
        *("commits/9", "nothing/here", "comments/", "strikes/0/"),
    ):
        expected = [key for key in keys if key.startswith(prefix)]
        assert [info.key for info in store.list(prefix)] == expected, prefix


@pytest.mark.long
def test_a_listing_goes_on_past_a_thousand_keys(place: Place) -> None:
    store = place.store()
    keys = [f"commits/{number // 700:06}/{number:07}.parquet" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    assert [info.key for info in store.list("commits/")] == keys


def test_a_listing_of_a_new_store_is_empty(store: ObjectStore) -> None:
    assert list(store.list()) == []


def test_a_store_shows_nothing_of_its_neighbours(place: Place) -> None:
    root = place.store().uri
    inner, neighbour = open_store(root), open_store(root + "-other")
    inner.put("a", b"mine")
    neighbour.put("b", b"not mine")
    assert [info.key for info in inner.list()] == ["a"]


def test_a_listing_shows_a_write_at_once(store: ObjectStore) -> None:
    for number in range(20):
        store.put_new(f"commits/{number:02}", b"x")
        assert len(list(store.list("commits/"))) == number + 1


def test_a_store_works_after_its_journey_to_another_process(store: ObjectStore) -> None:
    store.put("before", b"1")
    copy: ObjectStore = pickle.loads(pickle.dumps(store))
    assert copy.uri == store.uri
    assert copy.get("before") == b"1"
    assert copy.put_new("after", b"2") is True
    assert store.get("after") == b"2"


def test_its_own_uri_opens_the_same_store(store: ObjectStore) -> None:
    store.put("a", b"1")
    assert open_store(store.uri).get("a") == b"1"


ODD_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    "a/./b",
    ".hidden",
    "a/.b",
    "a b",
    "a\\b",
    "a\n",
] + ["ä", "a\0b", "a%2Fb", "a+b", "x" * 201, "/".join(["abc"] * 200)]


@pytest.mark.parametrize("verb", ["put", "put_new", "get", "get_part", "find"])
def test_odd_keys_are_refused(store: ObjectStore, verb: str) -> None:
    data = {"put": [b""], "put_new": [b""], "get_part": [0, 1]}.get(verb, [])
    for key in ODD_KEYS:
        with pytest.raises(StorageRefused, match="object key: expected"):
            getattr(store, verb)(key, *data)
    assert list(store.list()) == []


def test_odd_prefixes_are_refused(store: ObjectStore) -> None:
    for prefix in ("/", "..", "../", "a//", "a b", "a/.", "a/../b"):
        with pytest.raises(StorageRefused, match="prefix"):
            store.list(prefix)


def test_a_deleted_object_is_gone_and_its_key_free_again(store: ObjectStore) -> None:
    store.put("pairs/a", b"1")
    store.put("pairs/b", b"2")
    store.delete("pairs/a")
    store.delete("pairs/a")  # nothing happens
    store.delete("never/was")
    assert [info.key for info in store.list()] == ["pairs/b"]
    assert store.find("pairs/a") is None
    assert store.put_new("pairs/a", b"3") is True


def test_an_object_says_when_it_was_stored_by_the_stores_own_clock(store: ObjectStore) -> None:
    before = store.now()
    store.put("pairs/a", b"1")
    after = store.now()
    found = store.find("pairs/a")
    assert found is not None
    for info in (found, *store.list()):
        # S3 tells whole seconds.
        assert before - 2 <= info.modified <= after + 2


def test_uploads_that_were_finished_are_not_listed(store: ObjectStore) -> None:
    store.put("pairs/a", b"1")
    store.put_new("pairs/b", b"1")
    assert list(store.uploads()) == []


def test_a_probe_finds_conditional_writes_and_leaves_nothing(strong_store: ObjectStore) -> None:
    store = strong_store
    store.put(f"{PROBES}of-a-living-start", b"1")
    found = probe(store)
    assert (found.commits, found.reason) == ("conditional", "")
    assert found.rounds >= 1
    assert [info.key for info in store.list()] == [f"{PROBES}of-a-living-start"]
