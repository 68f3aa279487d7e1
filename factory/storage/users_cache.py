"""Where this user keeps what was fetched, and nobody else can put files."""

import os
from pathlib import Path

from factory.errors import InputError


def users_cache(name: str) -> Path:
    """A folder of this name below the user's cache; it need not be there yet. Raises `InputError`."""
    # Not below the system's temporary folder, where others may put files first.
    for root in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(root):
            return Path(root) / "editmill" / name
    raise InputError("XDG_CACHE_HOME: must be an absolute path where there is no home, got none")


def make_private(folder: Path) -> None:
    """Make a folder, or keep the one that is there, for this user alone (mode 0700)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
