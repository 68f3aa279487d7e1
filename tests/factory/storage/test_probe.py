"""A probe against stores that break their promises."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from factory.deeds import PROBES
from factory.errors import StorageRefused, StorageUnavailable
from factory.storage.local import LocalStore
from factory.storage.probe import ABANDONED_S, ODD_RACES, OVERLAPS, probe
from factory.storage.protocol import ObjectInfo
from tests.chaos.stores.memory_store import MemoryStore
from tests.factory.ledger.watched_store import KeepingStore


class Overwriting(LocalStore):
    """Ignores the condition."""

    def put_new(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


class Hasty(LocalStore):
    """Looks first and writes later, so that writers who come together all win."""

    def put_new(self, key: str, data: bytes) -> bool:
        if self.find(key):
            return False
        time.sleep(0.05)
        self.put(key, data)
        return True


class Early(LocalStore):
    """Looks before the bytes arrive, and is so quick then that nobody who races comes between."""

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        if self.find(key):
            return False
        meanwhile()
        self.put(key, data)
        return True


class Late(LocalStore):
    """Looks when it has all bytes."""

    overlaps = 0

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        self.overlaps += 1
        meanwhile()
        return self.put_new(key, data)


class Orderly(Late):
    """Lets the second of two writers wait until the first is done."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.turn = threading.Lock()

    def put_new(self, key: str, data: bytes) -> bool:
        with self.turn:
            return super().put_new(key, data)

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        self.overlaps += 1
        with self.turn:
            meanwhile()
            return LocalStore.put_new(self, key, data)


class Hidden(Late):
    """Behind a proxy that resets what waits before anything comes between."""

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        raise StorageUnavailable("reset")


class Interrupted(Early):
    """Of whose first overlaps the request failed and was sent again, after the other had come."""

    left = OVERLAPS - 1

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        if self.left:
            self.left -= 1
            meanwhile()
            return self.put_new(key, data)
        return super().put_new_across(key, data, meanwhile)


class Impatient(Late):
    """Its gateway refuses a request whose bytes do not come."""

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        meanwhile()
        raise StorageRefused("400")


class Lying(LocalStore):
    """Tells the second writer that it lost, and keeps what it brought."""

    def put_new(self, key: str, data: bytes) -> bool:
        lost = self.find(key) is not None
        self.put(key, data)
        return not lost


class Lagging(LocalStore):
    """Lists what was there a while ago."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(())


class Rotting(LocalStore):
    """Gives back other bytes."""

    def get(self, key: str) -> bytes:
        return super().get(key)[:-1]


class Quarrelsome(LocalStore):
    """Answers some of the writers who meet with 409."""

    def put_new(self, key: str, data: bytes) -> bool:
        if data.startswith(b"writer") and random.random() < 0.5:
            raise StorageUnavailable("409")
        return super().put_new(key, data)


class Broken(LocalStore):
    """Tells everyone who races that they lost."""

    def put_new(self, key: str, data: bytes) -> bool:
        return not data.startswith(b"writer") and super().put_new(key, data)


class Confused(LocalStore):
    """Tells another writer than the one whose body it keeps that it won."""

    def put_new(self, key: str, data: bytes) -> bool:
        if not data.startswith(b"writer"):
            return super().put_new(key, data)
        super().put_new(key, b"writer 0")
        return data == b"writer 7"


@pytest.mark.parametrize(
    ("kind", "rounds", "reason"),
    [
        (Overwriting, 0, "second"),
        (Lying, 0, "second"),
        (Early, 0, "2 of 2 simultaneous"),
        (Interrupted, 0, "2 of 2 simultaneous"),
        (Hasty, 1, "simultaneous"),
        (Confused, 1, "not the winner's"),
        (Broken, 1, "nothing is stored"),
    ],
)
def test_a_store_whose_condition_fails_is_called_weak(
    tmp_path: Path, kind: type[LocalStore], rounds: int, reason: str
) -> None:
    found = probe(kind(tmp_path))
    assert (found.commits, found.rounds) == ("weak", rounds)
    assert reason in found.reason


@pytest.mark.parametrize("kind", [Late, Orderly, Hidden, Impatient])
def test_a_store_that_holds_one_of_two_writers_to_its_condition_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[LocalStore]
) -> None:
    monkeypatch.setattr("factory.storage.probe.OVERLAP_SECONDS", 0.05)
    assert probe(kind(tmp_path)).commits == "conditional"


def test_a_writer_who_waits_for_another_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.storage.probe.OVERLAP_SECONDS", 0.05)
    orderly, late = Orderly(tmp_path / "orderly"), Late(tmp_path / "late")
    for store, overlaps in ((orderly, 1), (late, OVERLAPS)):
        probe(store)
        assert store.overlaps == overlaps


class Spoilt(LocalStore):
    """Behind a proxy that cuts replies to reading, so often in a row."""

    cut = 0

    def get(self, key: str) -> bytes:
        self.cut -= 1
        return super().get(key)[: -1 if self.cut >= 0 else None]


class Odd(LocalStore):
    """Loses what was raced for, in so many races."""

    races = 0

    def put_new(self, key: str, data: bytes) -> bool:
        if data.startswith(b"writer 0"):
            self.races -= 1
        return super().put_new(key, data)

    def get(self, key: str) -> bytes:
        if self.races >= 0 and super().get(key).startswith(b"writer"):
            self.delete(key)
        return super().get(key)


class Short(LocalStore):
    """Shows ten objects at most, and calls them all."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return islice(super().list(prefix), 10)


class Unpaged(LocalStore):
    """A server that never goes on from a page."""

    def list_by(self, prefix: str, most: int) -> Iterator[ObjectInfo]:
        return islice(self.list(prefix), most)

    def names(self) -> Iterator[str]:
        return (info.key for info in self.list())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Lagging, "expected a listing .* got 0 of 2"),
        (Rotting, "expected the bytes"),
        (Short, "expected a listing .* got 10 of 14"),
        (Unpaged, "expected a listing .* got 1 of 2"),
    ],
)
def test_a_store_that_shows_other_than_was_written_is_refused(
    tmp_path: Path, kind: type[LocalStore], expected: str
) -> None:
    with pytest.raises(StorageRefused, match=expected):
        probe(kind(tmp_path))


def test_slow_store_is_raced_for_eight_times_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.storage.probe.RACING_SECONDS", 0.0)
    assert probe(LocalStore(tmp_path)).rounds == 8


def test_unclear_answers_in_a_race_are_no_weakness(tmp_path: Path) -> None:
    assert probe(Quarrelsome(tmp_path)).commits == "conditional"


@pytest.mark.parametrize("cut", range(4))
def test_replies_that_are_cut_make_no_store_weak(tmp_path: Path, cut: int) -> None:
    store = Spoilt(tmp_path)
    store.cut = cut
    assert probe(store).commits == "conditional"


@pytest.mark.parametrize(("races", "commits"), [(1, "conditional"), (ODD_RACES, "weak")])
def test_a_race_that_reads_oddly_is_run_again(tmp_path: Path, races: int, commits: str) -> None:
    store = Odd(tmp_path)
    store.races = races
    assert probe(store).commits == commits


@pytest.mark.parametrize("kind", [LocalStore, Overwriting, Rotting])
def test_what_a_start_tried_a_store_with_is_gone(tmp_path: Path, kind: type[LocalStore]) -> None:
    with suppress(StorageRefused):
        probe(kind(tmp_path))
    assert list(LocalStore(tmp_path).list()) == []


def test_keys_that_may_not_delete_are_enough(tmp_path: Path) -> None:
    assert probe(KeepingStore(tmp_path)).commits == "conditional"


def test_a_start_removes_what_a_dead_one_left_by_the_stores_own_clock() -> None:
    store = MemoryStore()
    ages = {"dead": ABANDONED_S + 1, "living": ABANDONED_S - 1, "ahead": -ABANDONED_S}
    for name, age in ages.items():
        store.put(f"{PROBES}{name}", b"1")
        store.modified[f"{PROBES}{name}"] -= age
    store.put("pairs/old", b"1")
    store.modified["pairs/old"] = 0.0
    probe(store)
    assert set(store.objects) == {f"{PROBES}living", f"{PROBES}ahead", "pairs/old"}
