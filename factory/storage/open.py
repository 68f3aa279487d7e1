"""From a URI to a store."""

import os
import re
from urllib.parse import unquote, urlsplit

from factory.errors import ConfigError
from factory.storage.key_rules import OWN, KeyRules
from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectStore


def open_store(uri: str, keys: KeyRules = OWN) -> ObjectStore:
    """The store a URI names: `s3://bucket/prefix`, `file:///folder`, or a path; `keys` are those it takes.

    Nothing is asked of the store yet; `probe` does that. Raises `ConfigError`.
    """
    if re.search(r"\$[{(]", uri):
        raise ConfigError(f"store: variables are not filled in here, got {shown(uri)}")
    if uri.startswith("s3://"):
        # Here, so that whoever names no bucket needs no boto3.
        from factory.storage.s3.store import S3Store

        return S3Store(uri, keys)
    if uri.startswith("file:"):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise ConfigError(f"store: expected file:///folder, got {uri!r}")
        return LocalStore(unquote(parts.path), keys)
    scheme, colon, _ = uri.partition(":")
    # "s3:/bucket" and "gs://bucket" would otherwise become folders with odd names.
    if not uri.strip() or (colon and "/" not in scheme) or "\0" in uri:
        raise ConfigError(
            f"store: expected s3://bucket/prefix, file:///folder or a path, got {shown(uri)}"
        )
    return LocalStore(os.path.expanduser(uri), keys)


def shown(uri: str) -> str:
    """A URI for a message: without what may be a password or a signature."""
    return repr(uri) if "@" not in uri and "?" not in uri else f"{uri.partition(':')[0]}:..."
