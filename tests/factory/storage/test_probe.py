"""A probe against stores that break their promises."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.errors import StorageRefused, StorageUnavailable
from factory.storage.local import LocalStore
from factory.storage.probe import probe
from factory.storage.protocol import ObjectInfo


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


@pytest.mark.parametrize(
    ("kind", "expected"), [(Lagging, "expected a listing"), (Rotting, "expected the bytes")]
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
