"""A folder as an object store; several processes, also on several machines, may share it."""

import ctypes
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from factory import deeds
from factory.errors import KeyTaken, ObjectMissing, StorageRefused, StorageUnavailable
from factory.storage.key_rules import OWN, USERS, KeyRules
from factory.storage.protocol import ObjectInfo, Upload

INCOMING = ".incoming"
"""Holds objects while they are written. What a killed process leaves here is never listed."""

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
RENAME_NOREPLACE = 1
AT_FDCWD = -100


class LocalStore:
    """Objects as files below a folder, which the first write makes.

    Once an object was found or written there, the folder is not made again: where it was deleted or
    unmounted meanwhile, writing raises `StorageRefused`.
    """

    def __init__(self, folder: str | os.PathLike[str], keys: KeyRules = OWN) -> None:
        # Absolute, because a worker's working directory is another.
        self.folder = Path(os.path.abspath(folder))
        self.keys = keys
        self.uri = str(self.folder)
        self._stood = False

    def __repr__(self) -> str:
        return f"LocalStore({self.uri!r})"

    def put(self, key: str, data: bytes) -> None:
        """Replaces what is there, so that a damaged file under the key is mended."""
        final = self._path(key)
        with self._translated(key), self._incoming(data) as incoming:
            self._make_folder(final.parent)
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
                try:
                    created = create(incoming, final)
                except FileNotFoundError:
                    self._make_folder(final.parent)
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
                return read_part(self._path(key), first, count)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectMissing(f"{self.folder / key}: no such object") from None

    def find(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with self._translated(key):
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not stat.S_ISREG(found.st_mode):
            return None
        self._stood = True
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
                # Its beginning first: of very many names in a folder few may be asked for.
                if not key.startswith(prefix) or not self.keys.is_key(key):
                    continue
                if entry.is_dir():
                    # With its slash a folder sorts where its keys do: "a-b", "a/b", "a0".
                    found.append((key + "/", 0, 0.0))
                else:
                    try:
                        seen = entry.stat()
                    except FileNotFoundError:
                        continue
                    found.append((key, seen.st_size, seen.st_mtime))
        for name, size, modified in sorted(found):
            if not name.endswith("/"):
                yield ObjectInfo(name, size, modified)
            else:
                yield from self._walk(name, prefix)

    def names(self) -> Iterator[str]:
        """The path of every file below the folder, in order, those included that are no keys, and of links
        that lead nowhere; a folder that may not be read is named itself. Passed over are hidden files and
        folders, and links to a folder above. What is no Unicode is written with backslashes.
        """
        return self._names("", frozenset())

    def _names(self, parent: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        found: list[str] = []
        with self._translated(""):
            try:
                seen = (self.folder / parent).stat()
                here = seen.st_dev, seen.st_ino
                if here not in above:
                    found = [
                        # With its slash a folder sorts where its keys do: "a-b", "a/b", "a0".
                        parent + entry.name + "/" * _is_folder(entry)
                        for entry in os.scandir(self.folder / parent)
                        if not entry.name.startswith(".")
                    ]
            except (FileNotFoundError, NotADirectoryError):
                return
            except PermissionError:
                if not parent:
                    raise
                found = [parent.removesuffix("/")]
        for name in sorted(found):
            if name.endswith("/"):
                yield from self._names(name, above | {here})
            else:
                yield _printable(name)

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

    def _make_folder(self, folder: Path) -> None:
        make_folder(folder, self.folder if self._stood else None)

    @contextmanager
    def _incoming(self, data: bytes) -> Iterator[Path]:
        """A finished, durable file with the data, under a name that no listing shows."""
        folder = self.folder / INCOMING
        path = folder / secrets.token_hex(16)
        try:
            try:
                write_durably(path, data)
            except FileNotFoundError:
                self._make_folder(folder)
                write_durably(path, data)
            self._stood = True
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
            if self._stood and error.errno == errno.ENOENT and not self.folder.is_dir():
                raise StorageRefused(
                    f"{self.uri}: the folder is gone: was it deleted, or its disk unmounted? nothing more "
                    "is written there"
                ) from error
            if error.errno in (errno.EISDIR, errno.ENOTDIR) and self.folder.is_dir():
                raise KeyTaken(
                    f"{place}: a folder stands there, or a file on the way there; "
                    "move it away and run again"
                ) from error
            raise StorageRefused(
                f"{place}: cannot be used as a store ({error.strerror}); "
                "choose a folder that this user may read and write"
            ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Of links in a circle the system says neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


# By the system's own calls: each that `open` makes beside them (is it a terminal? where are we?) is a wait
# for Python's lock where many threads read and write.
def write_durably(path: Path, data: bytes) -> None:
    """Make a new file with the data."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_part(path: Path, first: int, count: int) -> bytes:
    """So many bytes of a file from `first` on, all where `count` is negative; fewer where it ends."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        size = found.st_size - first
        left = size if count < 0 else min(size, count)
        parts = []
        while left > 0:
            part = os.pread(descriptor, left, first)
            if not part:
                break
            parts.append(part)
            first, left = first + len(part), left - len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]
    finally:
        os.close(descriptor)


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


def make_folder(folder: Path, stood: Path | None = None) -> None:
    """Make a folder and its parents, durably. Raises `FileNotFoundError` where it would have to make
    `stood`, or that goes meanwhile."""
    if folder.is_dir():
        return
    if folder == stood:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    make_folder(folder.parent, stood)
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
