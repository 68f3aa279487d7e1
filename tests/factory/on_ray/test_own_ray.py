"""The folder of a Ray of our own: where it is made, whose it is, and what is left of others."""

import fcntl
import os
import stat

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.errors import ConfigError
from factory.on_ray import own_ray
from factory.on_ray.own_ray import (
    MOST_LETTERS,
    check_place,
    check_start,
    make_ray_folder,
    sweep_ray_folders,
)


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """The folder that everyone shares, and nothing in the environment."""
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(own_ray, "SHARED", str(tmp_path))
    # Those of pytest are long.
    monkeypatch.setattr(own_ray, "MOST_LETTERS", len(str(tmp_path)) + 2)
    return tmp_path


def test_it_is_this_users_alone_while_ray_lets_everyone_write_further_below(place):
    folder = make_ray_folder()
    assert folder.path.parent == place
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.rays.parent == folder.path
    folder.remove()
    assert list(place.iterdir()) == []


def test_a_socket_below_the_longest_place_has_a_path_that_is_allowed(place):
    longest = "/" + "x" * (MOST_LETTERS - 1)
    folder = f"{longest}/{own_ray.PREFIX}12345678/r"
    session = "session_2026-11-26_07-40-54_654836_4194304"
    assert len(f"{folder}/{session}/sockets/plasma_store") == own_ray.SOCKET_LETTERS


def test_what_dead_processes_left_is_removed_and_nothing_else(place):
    mine, left = make_ray_folder(), make_ray_folder()
    os.close(left._lock)
    for name, mode in [("emr-young", 0o700), ("emr-open", 0o755), ("other", 0o700)]:
        (place / name).mkdir(mode)
    (place / "emr-open" / own_ray.LOCK).touch()
    (place / "emr-file").touch()
    (place / "elsewhere").mkdir(0o700)
    (place / "elsewhere" / own_ray.LOCK).touch()
    (place / "emr-link").symlink_to(place / "elsewhere")
    before = {path.name for path in place.iterdir()}
    sweep_ray_folders()
    after = {path.name for path in place.iterdir()}
    assert before - after == {left.path.name}
    assert after - before == set()
    assert mine.path.exists()


def test_another_users_is_left_alone(place, monkeypatch):
    left = make_ray_folder()
    os.close(left._lock)
    monkeypatch.setattr(os, "geteuid", lambda: left.path.stat().st_uid + 1)
    sweep_ray_folders()
    assert left.path.exists()


def test_the_lock_is_held_for_as_long_as_the_process_lives(place):
    folder = make_ray_folder()
    other = os.open(folder.path / own_ray.LOCK, os.O_WRONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_temporary_folder_is_taken_where_it_is_short_enough(place, monkeypatch):
    (place / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(place / "t"))
    assert check_place() == place / "t"
    for unfit in (place / "missing", place / ("t" * 80)):
        monkeypatch.setenv("TMPDIR", str(unfit))
        assert check_place() == place


@pytest.mark.parametrize("bad", ["{}/" + "t" * 80, "{}/n", "relative"])
def test_a_place_that_is_named_for_ray_must_serve(place, monkeypatch, bad):
    (place / ("t" * 80)).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", bad.format(place))
    with pytest.raises(ConfigError, match=r"^RAY_TMPDIR: must .*; set it to another short folder$"):
        check_start()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    check_start()


def test_a_run_is_not_begun_where_ray_cannot_be_started(place, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 99)
    commands = [
        "generate --preset miniature --triplets miniature",
        "fit --preset miniature --dataset d",
    ]
    for command in commands:
        words = [*command.split(), "--out", str(place / "out")]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert result.stderr.startswith("editmill: RAY_TMPDIR: must have")
    assert list(place.iterdir()) == []


def test_where_nothing_serves_the_remedy_is_named(place, monkeypatch):
    monkeypatch.setattr(own_ray, "SHARED", str(place / "missing"))
    monkeypatch.setenv("TMPDIR", str(place / ("t" * 80)))
    with pytest.raises(ConfigError, match=r"set RAY_TMPDIR to a short folder$"):
        make_ray_folder()
