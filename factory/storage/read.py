"""Read one input object that a person names by URI: a local file or an S3 object."""

from pathlib import Path

from factory.errors import InputError, ObjectMissing
from factory.storage.open import open_store


def read_object(uri: str) -> bytes:
    """The whole object. Raises `InputError` where it is missing or cannot be read."""
    if uri.startswith("s3://"):
        parent, _, name = uri.rpartition("/")
        try:
            return open_store(parent).get(name)
        except ObjectMissing:
            raise InputError(f"{uri}: no such object") from None
    path = Path(uri.removeprefix("file://")).expanduser()
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{uri}: no such file") from None
    except OSError as error:
        raise InputError(f"{uri}: cannot be read: {error.strerror}") from None
