"""A Ray of our own: its short folder, of this user alone, and what can be refused before it is started."""

import fcntl
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from factory.errors import ConfigError

SHARED = "/tmp"
"""Where it goes unless the environment names a place."""
PREFIX = "emr-"
LOCK = "lock"
"""In each: held by its process as long as that lives, whatever machine's or container's number it has."""
SOCKET_LETTERS = 107 if sys.platform == "linux" else 103
"""Most bytes in the path of a socket."""
OWN_LETTERS = len(f"/{PREFIX}12345678/r")
RAYS_LETTERS = len("/session_2026-11-26_07-40-54_654836_4194304/sockets/plasma_store")
MOST_LETTERS = SOCKET_LETTERS - OWN_LETTERS - RAYS_LETTERS
"""Most bytes in the path of the folder that it is made in."""


TOKEN = "token"


@dataclass(frozen=True)
class RayFolder:
    """A folder of mode 0700; remove it when its Ray has ended."""

    path: Path
    _lock: int

    @property
    def rays(self) -> Path:
        """Where Ray may let everyone write, as it does."""
        return self.path / "r"

    def remove(self) -> None:
        """With all that is in it; the lock last, by which a later start knows what is left."""
        shutil.rmtree(self.rays, ignore_errors=True)
        if not self.rays.exists():
            shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)


def check_start() -> None:
    """Raise `ConfigError` where no Ray could be started here, before anything else is begun.

    A Ray that runs already, by RAY_ADDRESS, needs nothing here.
    """
    if not os.environ.get("RAY_ADDRESS"):
        check_mode()
        check_place()


def check_mode() -> None:
    """Raise `ConfigError` where tokens are switched off."""
    mode = os.environ.get("RAY_AUTH_MODE", TOKEN)
    if mode.lower() != TOKEN:
        raise ConfigError(
            f"RAY_AUTH_MODE: must be {TOKEN} or unset where editmill starts Ray, got {mode!r}: whoever "
            "reaches an open Ray runs code here; set RAY_ADDRESS to use one that runs already"
        )


def check_place() -> Path:
    """Where folders are made: RAY_TMPDIR, else TMPDIR where it serves, else /tmp.

    Raises `ConfigError` where none of them serves.
    """
    named = os.environ.get("RAY_TMPDIR")
    if named:
        if why := _amiss(named):
            raise ConfigError(f"RAY_TMPDIR: {why}; set it to another short folder")
        return Path(named)
    wanted = os.environ.get("TMPDIR")
    if wanted and not _amiss(wanted):
        return Path(wanted)
    if why := _amiss(SHARED):
        raise ConfigError(
            f"TMPDIR: {_amiss(wanted or SHARED)}, and {SHARED} {why}; set RAY_TMPDIR to a short folder"
        )
    return Path(SHARED)


def _amiss(folder: str) -> str | None:
    """What keeps a folder from serving."""
    if not os.path.isabs(folder):
        return f"must be an absolute path, got {folder!r}"
    if len(os.fsencode(folder.rstrip("/"))) > MOST_LETTERS:
        return (
            f"must have {MOST_LETTERS} letters at most, for Ray's sockets lie below it and a socket's path "
            f"has no more than {SOCKET_LETTERS}, got {folder}"
        )
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        return f"must be a folder that can be written, got {folder}"
    return None


def make_ray_folder() -> RayFolder:
    """A new one. Raises `ConfigError` as `check_place`."""
    place = check_place()
    try:
        # With mode 0700, under a name that nobody had.
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = os.open(path / LOCK, os.O_CREAT | os.O_WRONLY, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(
            f"{place}: must take a folder for Ray, got {error.strerror}; set RAY_TMPDIR to a short folder"
        ) from None
    return RayFolder(path, lock)


def sweep_ray_folders() -> None:
    """Remove those that dead processes of this user left. Raises `ConfigError` as `check_place`."""
    place = check_place()
    with suppress(OSError):
        for entry in place.glob(f"{PREFIX}*"):
            if _is_ours(entry) and _is_left(entry):
                shutil.rmtree(entry, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """A real folder of this user's that nobody else could write to."""
    with suppress(OSError):
        found = folder.lstat()
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        return private and found.st_uid == os.geteuid()
    return False


def _is_left(folder: Path) -> bool:
    """Whether nobody holds its lock. One without a lock may be about to get it, and is left alone."""
    try:
        lock = os.open(folder / LOCK, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(lock)
