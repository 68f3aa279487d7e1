"""Where results go: looked at before hours are spent on them."""

import secrets
from pathlib import Path
from tempfile import TemporaryFile

from factory.deeds import PROBES
from factory.errors import ConfigError
from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectStore


def check_folder(option: str, folder: Path) -> None:
    """Raise `ConfigError` where a folder cannot be made, or takes no files; leaves nothing."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{option} {folder}: cannot be written: {error.strerror}") from None


def check_file(option: str, path: Path) -> None:
    """Raise `ConfigError` where a file cannot be written, in a folder that is there; leaves nothing."""
    try:
        if path.exists():
            with path.open("r+b"):
                pass
        with TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be written: {error.strerror}") from None


def check_store(option: str, store: ObjectStore) -> None:
    """Raise where a root takes no objects: `ConfigError`, of a folder; else the store's own error.

    Leaves nothing in a folder, and a tiny object below PROBES in a bucket.
    """
    if isinstance(store, LocalStore):
        check_folder(option, store.folder)
    else:
        store.put_new(f"{PROBES}{secrets.token_hex(16)}", b"")
