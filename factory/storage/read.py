"""Read one input object that a person names by URI: a local file or an S3 object."""

import difflib
import io
import os
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from factory.errors import InputError, ObjectMissing
from factory.storage.open import open_store, shown


def open_object(uri: str) -> BinaryIO:
    """A file that can be read anywhere: a local one where it lies, others from memory.

    Raises `InputError` where it is missing or cannot be read.
    """
    if uri.startswith("s3://"):
        if "@" in uri or "?" in uri:
            raise InputError(
                f"expected a file or s3://bucket/key without keys or a signature, got {shown(uri)}"
            )
        parent, _, name = uri.rpartition("/")
        if not name or parent in ("s3:/", "s3://"):
            raise InputError(f"{uri}: expected s3://bucket/key, got no key")
        try:
            return io.BytesIO(open_store(parent).get(name))
        except ObjectMissing:
            raise InputError(f"{uri}: no such object") from None
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else os.path.expanduser(uri)
    if not path or ("://" in uri and not uri.startswith("file:")):
        raise InputError(f"expected a file or s3://bucket/key, got {shown(uri)}")
    try:
        file = open(path, "rb")  # noqa: SIM115 -- whoever asked for it closes it
        if file.seekable():
            return file
        with file:  # a pipe
            return io.BytesIO(file.read())
    except FileNotFoundError:
        raise InputError(f"{uri}: no such file{_near(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{uri}: cannot be read: {reason}") from None


def _near(path: str) -> str:
    """A file beside it that is called nearly so, as a question."""
    folder, name = os.path.split(path)
    try:
        near = difflib.get_close_matches(name, os.listdir(folder or "."), 1, cutoff=0.8)
    except (OSError, ValueError):
        near = []
    return f"; did you mean {near[0]!r}?" if near else ""
