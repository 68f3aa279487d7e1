"""The keys a store takes, the same for every store."""

import re

from factory.errors import StorageRefused

RUN = "RUN.json"
"""What tells that a folder or prefix is a run's root."""
PROBES = "probe/"
"""The prefix of the few tiny objects by which a store is tried; nothing else is kept there."""

LONGEST_KEY = 512
LONGEST_PART = 200
"""Leaves room for a run's prefix in S3's 1,024 bytes, and for a suffix in a file's name of 255."""

PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*(?:[A-Za-z0-9_-][A-Za-z0-9._-]*)?")


def is_key(key: str) -> bool:
    """Whether the key is parts of letters, digits and `._-`, none of which begins with a dot."""
    parts = key.split("/")
    return len(key) <= LONGEST_KEY and all(
        len(part) <= LONGEST_PART and PART.fullmatch(part) for part in parts
    )


def check_key(key: str) -> None:
    """Refuse what is not a key."""
    if not is_key(key):
        raise StorageRefused(
            f"object key: expected parts of letters, digits and ._- (no part beginning with a "
            f"dot, {LONGEST_PART} letters at most) separated by /, got {key[:80]!r}"
        )


def check_prefix(prefix: str) -> None:
    """Refuse what no key can begin with."""
    if not PREFIX.fullmatch(prefix):
        raise StorageRefused(
            f"prefix of a listing: expected the beginning of an object key, got {prefix[:80]!r}"
        )
