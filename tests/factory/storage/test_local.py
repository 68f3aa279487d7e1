"""What is special about a folder."""

import errno
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from factory.errors import KeyTaken, StorageRefused, StorageUnavailable
from factory.storage.local import INCOMING, LocalStore
from factory.storage.probe import probe
from factory.storage.protocol import ObjectInfo


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it, nothing tidies up."""


def kill(*_: object, **__: object) -> None:
    raise Killed


def fail(code: int) -> Callable[..., None]:
    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return failing


@pytest.mark.parametrize(
    ("verb", "step"),
    [("put", "fsync"), ("put", "replace"), ("put_new", "fsync"), ("put_new", "link")],
)
def test_a_writer_that_dies_half_way_leaves_nothing_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, step: str
) -> None:
    store = LocalStore(tmp_path)
    store.put("pairs/before", b"1")
    with monkeypatch.context() as dying:
        dying.setattr(os, step, kill)
        dying.setattr(Path, "unlink", kill)
        with pytest.raises(Killed):
            getattr(store, verb)("pairs/a", b"half of it")
    assert [path.is_file() for path in (tmp_path / INCOMING).iterdir()] == [True]
    assert list(store.list()) == [ObjectInfo("pairs/before", 1)]
    assert store.find("pairs/a") is None
    assert store.put_new("pairs/a", b"all of it") is True
    assert store.get("pairs/a") == b"all of it"


@pytest.mark.parametrize(
    "key", ["taken", "file/below"], ids=["a folder there", "a file on the way"]
)
@pytest.mark.parametrize("verb", ["put", "put_new"])
def test_a_key_that_another_kind_has_is_told(tmp_path: Path, verb: str, key: str) -> None:
    store = LocalStore(tmp_path)
    store.put("file", b"1")
    (tmp_path / "taken").mkdir()
    words = f"{key}: a folder stands there, or a file on the way there; move it away and run again$"
    with pytest.raises(KeyTaken, match=words):
        getattr(store, verb)(key, b"2")
    assert (tmp_path / "taken").is_dir()
    assert store.get("file") == b"1"


def test_nothing_is_left_behind_by_finished_writes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"1")
    store.put_new("b", b"2")
    store.put_new("b", b"3")
    assert list((tmp_path / INCOMING).iterdir()) == []


def test_a_damaged_object_is_replaced_without_a_moment_between(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("pairs/a", b"damaged")
    with (tmp_path / "pairs/a").open("rb") as reader:
        store.put("pairs/a", b"mended, and longer")
        assert reader.read() == b"damaged"
    assert store.get("pairs/a") == b"mended, and longer"


def test_data_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, link, replace = os.fsync, os.link, os.replace

    def synced(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("folder" if folder else "data")
        sync(descriptor)

    def linked(*names: Path) -> None:
        steps.append("name")
        link(*names)

    def replaced(*names: Path) -> None:
        steps.append("name")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "replace", replaced)
    store = LocalStore(tmp_path)
    store.put("a", b"makes the folders")
    for verb in (store.put, store.put_new):
        steps.clear()
        verb("b" + verb.__name__, b"1")
        assert steps == ["data", "name", "folder"]


def test_a_link_that_was_made_though_refused_is_a_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_twice(*names: Path) -> None:
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", link_twice)
    store = LocalStore(tmp_path)
    assert store.put_new("a", b"1") is True
    assert store.put_new("a", b"2") is False


def test_without_hard_links_the_first_writer_still_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    store = LocalStore(tmp_path)
    assert store.put_new("a", b"1") is True
    # Past the first look, as a writer is who comes at the same moment.
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    assert store.put_new("a", b"2") is False
    assert store.get("a") == b"1"
    assert list((tmp_path / INCOMING).iterdir()) == []
    assert probe(store).commits == "conditional"


def test_a_folder_that_can_only_overwrite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EOPNOTSUPP))
    # A C library without renameat2, as on macOS.
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    with pytest.raises(StorageRefused, match="only by overwriting"):
        LocalStore(tmp_path).put_new("a", b"1")


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/self"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = LocalStore(tmp_path / folder)
    for verb in (
        lambda: store.put("a", b"1"),
        lambda: store.put_new("a", b"1"),
        lambda: probe(store),
    ):
        with pytest.raises(StorageRefused, match="choose a folder"):
            verb()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_or_failing_disk_is_worth_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = LocalStore(tmp_path)
    monkeypatch.setattr(os, "fsync", fail(code))
    with pytest.raises(StorageUnavailable, match=r"(?i)no space|input/output"):
        store.put_new("a", b"1")
    monkeypatch.undo()
    assert list(store.list()) == []


def test_a_key_cannot_go_below_an_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"1")
    store.put("b/c", b"2")
    for write in (store.put, store.put_new):
        with pytest.raises(StorageRefused):
            write("a/b", b"1")
        with pytest.raises(StorageRefused):
            write("b", b"1")
    assert [info.key for info in store.list()] == ["a", "b/c"]


def test_a_part_ends_where_the_object_does(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_new("pairs/a", b"0123456789")
    parts = [(0, -1), (8, -1), (3, 4), (8, 9), (12, 3), (12, -1), (4, 0)]
    read = [store.get_part("pairs/a", first, count) for first, count in parts]
    assert read == [b"0123456789", b"89", b"3456", b"89", b"", b"", b""]


def test_foreign_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("with blank", ".DS_Store", "ä"):
        (tmp_path / name).write_bytes(b"")
    LocalStore(tmp_path).put("a", b"1")
    assert [info.key for info in LocalStore(tmp_path).list()] == ["a"]


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore("run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("a", b"1")
    assert (tmp_path / "run" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("way", ["put", "put_new"])
@pytest.mark.parametrize("seen", ["written", "found"])
def test_a_folder_that_vanishes_is_not_made_again(tmp_path: Path, way: str, seen: str) -> None:
    """Also where it does so between two steps of a write."""
    folder = tmp_path / "run"
    store = LocalStore(folder)
    store.put("a", b"1")
    if seen == "found":
        store = pickle.loads(pickle.dumps(LocalStore(folder)))
        assert store.find("a")
    shutil.rmtree(folder)
    with pytest.raises(StorageRefused, match="the folder is gone: was it deleted"):
        getattr(store, way)("b/c", b"2")
    assert not folder.exists()
