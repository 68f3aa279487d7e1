"""Read triplet lists in every dialect in use: JSON lines, CSV or Parquet, local or S3."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from factory.errors import InputError, StorageError, TripletError
from factory.pairs.listed_rows import listed_rows
from factory.prompt_text import told_text
from factory.storage.open import open_store
from factory.storage.read import open_object
from factory.untrusted_parquet.names import SUFFIX, parquet_names
from factory.untrusted_parquet.texts import MOST_TEXT, TooLong
from schemas.triplet import Triplet

BUNDLED = Path(__file__).parents[1] / "miniature" / "triplets.jsonl"
DIALECTS: dict[str, tuple[str, ...]] = {
    "original_prompt": ("original_prompt", "input", "caption"),
    "edit_prompt": ("edit_prompt", "edit"),
    "edited_prompt": ("edited_prompt", "output"),
    "edit_kind": ("edit_kind",),
    "url": ("url",),
}
"""Our field to the names it has elsewhere: InstructPix2Pix's code and published files, ours."""
KNOWN = tuple(alias for aliases in DIALECTS.values() for alias in aliases)
REQUIRED = ("original_prompt", "edit_prompt", "edited_prompt")


@dataclass
class TripletList:
    """What was read: distinct triplets in order, and what was left out."""

    triplets: list[Triplet] = field(default_factory=list)
    duplicates: int = 0
    bad: list[str] = field(default_factory=list)
    """One message per skipped line."""


def read_triplets(uri: str, max_bad: int = 0) -> TripletList:
    """Read a list; `miniature` names the bundled one.

    Raises `TripletError` where there is no usable line, or more than `max_bad` bad ones: the message
    is the first bad line's.
    """
    uri = uri.rstrip("/") if uri.rstrip("/").endswith(SUFFIX) else uri
    name = "triplets.jsonl" if uri == "miniature" else uri.rsplit("/", 1)[-1]
    result = TripletList()
    seen: set[str] = set()
    bad = 0
    before: Any = None
    for where, row in _rows(uri, name):
        if before is not None and row == before:
            # Long words in many rows take a few bytes of Parquet; so they take little time too.
            result.duplicates += 1
            continue
        try:
            triplet = _triplet(row)
        except ValueError as error:
            bad += 1
            if bad <= max_bad + 1:  # more are only counted
                result.bad.append(f"{where}: {error}")
            continue
        before = row
        if triplet.triplet_id in seen:
            result.duplicates += 1
            continue
        seen.add(triplet.triplet_id)
        result.triplets.append(triplet)
    if bad > max_bad:
        count = f"{bad} bad line" + "s" * (bad > 1)
        raise TripletError(f"{result.bad[0]} ({count}, --max-bad is {max_bad})")
    if not result.triplets:
        first = f" and {bad} bad ones, first: {result.bad[0]}" if bad else ""
        raise TripletError(f"{name}: must hold at least one triplet, got 0 usable lines{first}")
    return result


def _rows(uri: str, name: str) -> Iterator[tuple[str, Any]]:
    for part, stream in _streams(uri, name):
        with closing(stream):
            try:
                yield from listed_rows(part, stream, KNOWN)
            except OSError as error:
                raise InputError(f"{uri}: cannot be read: {error.strerror or error}") from None


def _streams(uri: str, name: str) -> Iterator[tuple[str, BinaryIO]]:
    """A list's file; of a folder that is called as one, as Spark writes them, its parts."""
    if uri == "miniature":
        yield name, BUNDLED.open("rb")
        return
    try:
        stream = open_object(uri)
    except InputError:
        parts = _parts(uri)
        if not parts:
            raise
    else:
        yield name, stream
        return
    for part in parts:
        yield f"{name}/{part}", open_object(f"{uri.rstrip('/')}/{part}")


def _parts(uri: str) -> list[str]:
    if not uri.endswith(SUFFIX):
        return []
    try:
        return parquet_names(open_store(uri))
    except (InputError, StorageError):
        return []


def _triplet(row: Any) -> Triplet:
    """Raises `ValueError` with rule and got."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"line must be a JSON object, got {json.dumps(row)[:40]}")
    fields = {name: _field(row, name, aliases) for name, aliases in DIALECTS.items()}
    if told_text(fields["original_prompt"] or "") == told_text(fields["edited_prompt"] or ""):
        raise ValueError(
            "edited prompt must differ from the original in what the text encoder is told, not in "
            f"blanks, capitals, entities or quotes alone, got {fields['edited_prompt']!r}"[:240]
        )
    try:
        return Triplet(**fields)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None


def _field(row: dict[str, Any], name: str, aliases: tuple[str, ...]) -> str | None:
    """What the first alias says that says anything; null where an optional one says nothing."""
    alias = next((one for one in aliases if not _is_missing(row.get(one))), None)
    if alias is None and name not in REQUIRED:
        return None
    alias = alias or next((one for one in aliases if one in row), None)
    if alias is None:
        known, got = ", ".join(aliases), repr(", ".join(row))[:80]
        raise ValueError(f'field "{aliases[-1]}": expected one of {known}, got {got}')
    value = row[alias]
    if isinstance(value, ValueError):
        raise ValueError(f'field "{alias}": {value}')
    if isinstance(value, str) and not _is_unicode(value):
        raise ValueError(f'field "{alias}": must be text, got half a surrogate pair')
    if not isinstance(value, str) or _is_missing(value):
        got = "null" if value is None else repr(value)[:60]
        raise ValueError(f'field "{alias}": expected non-empty text, got {got}')
    if len(value) > MOST_TEXT // 4 and (length := len(value.encode())) > MOST_TEXT:
        raise ValueError(f'field "{alias}": {TooLong(length)}')
    return value


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_missing(value: Any) -> bool:
    """Null, what other programs write for it, or text of which nothing would show.

    That is blanks, and marks of no width and of direction.
    """
    if isinstance(value, str):
        return not any(c.isprintable() and not c.isspace() for c in value)
    return value is None or value != value
