"""Small JSON records that carry their own sha256, so that any changed byte is noticed."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from schemas.canonical import canonical_json, content_hash
from schemas.record import Record

R = TypeVar("R", bound=Record)

_STAMP = "stamp"


def to_stamped_json(record: Record) -> bytes:
    """Canonical JSON of the record and its stamp. Equal for equal records."""
    return stamped(record.identity())


def from_stamped_json(record: type[R], data: bytes) -> R:
    """The record. Raises `ValueError` where a byte is not what was written, or it is another record."""
    return record.read(unstamped(data))


def stamped(plain: Mapping[str, Any]) -> bytes:
    """Canonical JSON of an object and a `stamp`: sha256 over all the rest."""
    return canonical_json({**plain, _STAMP: content_hash(plain)})


def unstamped(data: bytes) -> dict[str, Any]:
    """The object. Raises `ValueError` where a byte is not what was written."""
    plain = json.loads(data)
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    stamp = plain.pop(_STAMP, None)
    if data != stamped(plain):
        raise ValueError(f"bytes do not match the record's own stamp {stamp}")
    return plain
