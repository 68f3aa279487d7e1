"""The keys a store takes: those that this program gives, and those of a user's pictures."""

import re
from typing import Protocol

from factory.errors import StorageRefused

RUN = "RUN.json"
"""What tells that a folder or prefix is a run's root."""

LONGEST_KEY = 512
LONGEST_PART = 200
"""Leaves room for a run's prefix in S3's 1,024 bytes, and for a suffix in a file's name of 255."""

PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*(?:[A-Za-z0-9_-][A-Za-z0-9._-]*)?")
ROOT_PART = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*")
"""Of a prefix that a run may lie below: `dt=2026-11-29`, as tables are partitioned, is one."""


class KeyRules(Protocol):
    """Which keys a store takes."""

    def is_root(self, prefix: str) -> bool:
        """Whether a store may lie below this prefix."""

    def is_key(self, key: str) -> bool: ...

    def check_key(self, key: str) -> None:
        """Refuse what is not a key."""

    def check_prefix(self, prefix: str) -> None:
        """Refuse what no key can begin with."""


class OwnKeys:
    """Of what this program stores: parts of letters, digits and `._-`, none of which begins with a dot."""

    def is_root(self, prefix: str) -> bool:
        return _is_made_of(ROOT_PART, prefix)

    def is_key(self, key: str) -> bool:
        return _is_made_of(PART, key)

    def check_key(self, key: str) -> None:
        if not self.is_key(key):
            raise StorageRefused(
                f"object key: expected parts of letters, digits and ._- (no part beginning with a "
                f"dot, {LONGEST_PART} letters at most) separated by /, got {key[:80]!r}"
            )

    def check_prefix(self, prefix: str) -> None:
        if not PREFIX.fullmatch(prefix):
            raise StorageRefused(
                f"prefix of a listing: expected the beginning of an object key, got {prefix[:80]!r}"
            )


class UsersKeys:
    """Of a user's pictures: any printed text that leads to one place below a root, here and in a bucket.

    So no part is empty or begins with a dot, which `.`, `..` and hidden files do, and none is longer than
    a file's name may be.
    """

    def is_root(self, prefix: str) -> bool:
        return self.is_key(prefix)

    def is_key(self, key: str) -> bool:
        return not self.why_not(key)

    def why_not(self, key: str) -> str:
        """Which rule a key breaks; empty where it breaks none."""
        try:
            longest = max(len(part.encode()) for part in key.split("/"))
        except UnicodeEncodeError:
            return "be Unicode"
        if longest > LONGEST_PART or len(key.encode()) > LONGEST_KEY:
            return f"have at most {LONGEST_KEY} bytes, {LONGEST_PART} between two slashes"
        if any(not part or part.startswith(".") for part in key.split("/")):
            return "have no part that is empty or begins with a dot"
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
            return "have no control characters"
        return ""

    def check_key(self, key: str) -> None:
        why = self.why_not(key)
        if why:
            raise StorageRefused(f"object key: must {why}, got {key[:80]!r}")

    def check_prefix(self, prefix: str) -> None:
        if prefix:
            self.check_key(prefix.removesuffix("/"))


def _is_made_of(pattern: re.Pattern[str], key: str) -> bool:
    return len(key) <= LONGEST_KEY and all(
        len(part) <= LONGEST_PART and pattern.fullmatch(part) for part in key.split("/")
    )


OWN = OwnKeys()
USERS = UsersKeys()
is_key, check_key, check_prefix = OWN.is_key, OWN.check_key, OWN.check_prefix
