"""A folder as an object store; several processes, also on several machines, may share it."""

import ctypes
import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from factory import deeds
from factory.errors import ObjectMissing, StorageRefused, StorageUnavailable
from factory.storage.key_rules import OWN, USERS, KeyRules
from factory.storage.protocol import ObjectInfo, Upload

INCOMING = ".incoming"
"""Holds objects while they are written. What a killed process leaves here is never listed."""

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
RENAME_NOREPLACE = 1
AT_FDCWD = -100


class LocalStore:
    """Objects as files below a folder, which the first write makes."""

    def __init__(self, folder: str | os.PathLike[str], keys: KeyRules = OWN) -> None:
        # Absolute, because a worker's working directory is another.
        self.folder = Path(os.path.abspath(folder))
        self.keys = keys
        self.uri = str(self.folder)

    def __repr__(self) -> str:
        return f"LocalStore({self.uri!r})"

    def put(self, key: str, data: bytes) -> None:
        """Replaces what is there, so that a damaged file under the key is mended."""
        final = self._path(key)
        with self._translated(key), self._incoming(data) as incoming:
            make_folder(final.parent)
            os.replace(incoming, final)
            deeds.wrote(key)
            sync_folder(final.parent)

    def put_new(self, key: str, data: bytes) -> bool:
        """Atomic also between processes: a link to a finished file is made, or is not."""
        final = self._path(key)
        with self._translated(key):
            # Not needed for the promise, but saves the writing where another was long done.
            if final.is_file():
                return False
            with self._incoming(data) as incoming:
                make_folder(final.parent)
                created = create(incoming, final)
                if created:
                    deeds.wrote(key)
                sync_folder(final.parent)
        return created

    def get(self, key: str) -> bytes:
        """Raises `ObjectMissing` also where the key names a folder."""
        return self.get_part(key, 0, -1)

    def get_part(self, key: str, first: int, count: int) -> bytes:
        with self._translated(key):
            try:
                with self._path(key).open("rb") as file:
                    file.seek(first)
                    return file.read(count)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectMissing(f"{self.folder / key}: no such object") from None

    def find(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with self._translated(key):
            try:
                if not path.is_file():
                    return None
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectInfo(key, found.st_size, found.st_mtime)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Files whose path is no key (hidden ones, blanks in the name) are passed over."""
        self.keys.check_prefix(prefix)
        parent, slash, _ = prefix.rpartition("/")
        return self._walk(parent + slash, prefix)

    def _walk(self, parent: str, prefix: str) -> Iterator[ObjectInfo]:
        found: list[tuple[str, int, float]] = []
        with self._translated(parent):
            try:
                entries = list(os.scandir(self.folder / parent))
            except (FileNotFoundError, NotADirectoryError):
                return
            for entry in entries:
                key = parent + entry.name
                if not self.keys.is_key(key):
                    continue
                if entry.is_dir():
                    # With its slash a folder sorts where its keys do: "a-b", "a/b", "a0".
                    found.append((key + "/", 0, 0.0))
                elif key.startswith(prefix):
                    try:
                        seen = entry.stat()
                    except FileNotFoundError:
                        continue
                    found.append((key, seen.st_size, seen.st_mtime))
        for name, size, modified in sorted(found):
            if not name.endswith("/"):
                yield ObjectInfo(name, size, modified)
            elif name.startswith(prefix):
                yield from self._walk(name, prefix)

    def delete(self, key: str) -> None:
        """Folders that become empty stay."""
        path = self._path(key)
        with self._translated(key):
            path.unlink(missing_ok=True)
            deeds.wrote(key)
            if path.parent.is_dir():
                sync_folder(path.parent)

    def uploads(self) -> Iterator[Upload]:
        """What killed processes left in the folder of incoming objects."""
        with self._translated(INCOMING):
            try:
                entries = list(os.scandir(self.folder / INCOMING))
            except FileNotFoundError:
                return
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield Upload(f"{INCOMING}/{entry.name}", entry.name, entry.stat().st_mtime)

    def abort(self, upload: Upload) -> None:
        with self._translated(upload.key):
            (self.folder / INCOMING / upload.name).unlink(missing_ok=True)
            deeds.wrote(upload.key)

    def now(self) -> float:
        """The time of a file just written here: a shared folder's times are its server's."""
        with self._translated(""):
            try:
                with self._incoming(b"now") as path:
                    return path.stat().st_mtime
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                # Nothing here can be removed either, so that no clock does harm.
                return time.time()

    def around(self, name: str) -> "LocalStore":
        return LocalStore(self.uri.removesuffix(f"/{name}"), USERS)

    def _path(self, key: str) -> Path:
        self.keys.check_key(key)
        return self.folder / key

    @contextmanager
    def _incoming(self, data: bytes) -> Iterator[Path]:
        """A finished, durable file with the data, under a name that no listing shows."""
        folder = self.folder / INCOMING
        make_folder(folder)
        path = folder / secrets.token_hex(16)
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self.folder / key
            if error.errno in NO_SPACE:
                raise StorageUnavailable(
                    f"{place}: no space is left; free some and run again"
                ) from error
            if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE):
                raise StorageUnavailable(f"{place}: {error.strerror}") from error
            raise StorageRefused(
                f"{place}: cannot be used as a store ({error.strerror}); "
                "choose a folder that this user may read and write"
            ) from error


def create(incoming: Path, final: Path) -> bool:
    """Give a finished file its name unless the name is taken; True when this call gave it."""
    try:
        os.link(incoming, final)
    except FileExistsError:
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        # NFS may carry out a link whose reply is lost, and then refuse its repetition.
        return os.path.samefile(incoming, final)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return rename_to_new(incoming, final)
    return True


def rename_to_new(incoming: Path, final: Path) -> bool:
    """As `create`, for file systems without hard links (exFAT, some network drives)."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        rename = libc.renameat2
    except AttributeError:
        code = errno.ENOSYS
    else:
        names = os.fsencode(incoming), os.fsencode(final)
        if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE) == 0:
            return True
        code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    if code in (errno.EINVAL, errno.ENOSYS):
        raise StorageRefused(
            f"{final.parent}: this file system can create a file only by overwriting, so two "
            "writers could both believe they were first; choose a local disk or an s3:// URI"
        )
    raise OSError(code, os.strerror(code), str(final))


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot, and need not.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
