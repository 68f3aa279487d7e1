"""Small JSON records that carry their own sha256, so that any changed byte is noticed."""

import json
from typing import TypeVar

from schemas.canonical import canonical_json, content_hash
from schemas.record import Record

R = TypeVar("R", bound=Record)

_STAMP = "stamp"


def to_stamped_json(record: Record) -> bytes:
    """Canonical JSON of the record and a `stamp`: sha256 over all the rest. Equal for equal records."""
    plain = record.model_dump(mode="json")
    return canonical_json(plain | {_STAMP: content_hash(plain)})


def from_stamped_json(record: type[R], data: bytes) -> R:
    """The record. Raises `ValueError` where a byte is not what was written, or it is another record."""
    plain = json.loads(data)
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    stamp = plain.pop(_STAMP, None)
    if data != canonical_json(plain | {_STAMP: content_hash(plain)}):
        raise ValueError(f"bytes do not match the record's own stamp {stamp}")
    return record.model_validate_json(canonical_json(plain))
