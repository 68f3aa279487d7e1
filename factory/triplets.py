"""Read triplet lists in every dialect in use: JSONL or Parquet, local or S3."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from factory.errors import TripletError
from factory.storage.read import read_object
from schemas.arrow import check_plain
from schemas.triplet import Triplet

BUNDLED = Path(__file__).parent / "miniature" / "triplets.jsonl"
DIALECTS: dict[str, tuple[str, ...]] = {
    "original_prompt": ("original_prompt", "input", "caption"),
    "edit_prompt": ("edit_prompt", "edit"),
    "edited_prompt": ("edited_prompt", "output"),
    "edit_kind": ("edit_kind",),
    "url": ("url",),
}
"""Our field to the names it has elsewhere: InstructPix2Pix's code and published files, ours."""
REQUIRED = ("original_prompt", "edit_prompt", "edited_prompt")
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard", b"PK\x03\x04": "zip"}
"""How files begin that hold others."""
LINE_BYTES = 1_000_000
"""A longer line is not a triplet."""


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
    name = "triplets.jsonl" if uri == "miniature" else uri.rsplit("/", 1)[-1]
    data = BUNDLED.read_bytes() if uri == "miniature" else read_object(uri)
    result = TripletList()
    seen: set[str] = set()
    for where, row in _rows(name, data):
        try:
            triplet = _triplet(row)
        except ValueError as error:
            result.bad.append(f"{where}: {error}")
            continue
        if triplet.triplet_id in seen:
            result.duplicates += 1
            continue
        seen.add(triplet.triplet_id)
        result.triplets.append(triplet)
    if len(result.bad) > max_bad:
        count = f"{len(result.bad)} bad line" + "s" * (len(result.bad) > 1)
        raise TripletError(f"{result.bad[0]} ({count}, --max-bad is {max_bad})")
    if not result.triplets:
        bad = f" and {len(result.bad)} bad ones, first: {result.bad[0]}" if result.bad else ""
        raise TripletError(f"{name}: must hold at least one triplet, got 0 usable lines{bad}")
    return result


def _rows(name: str, data: bytes) -> Iterator[tuple[str, Any]]:
    """Where each row stands, and the row or the `ValueError` that it is."""
    if data[:4] == b"PAR1":
        yield from _parquet_rows(name, data)
        return
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:2]:
        raise TripletError(f"{name}: must be UTF-8, got UTF-16")
    for start, kind in PACKED.items():
        if data.startswith(start):
            raise TripletError(f"{name}: must be JSON lines or Parquet, got {kind}; unpack it")
    yield from _json_rows(name, data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _json_rows(name: str, lines: list[bytes]) -> Iterator[tuple[str, Any]]:
    first = True
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        if first and (text.startswith(b"[") or text == b"{"):
            got = "one over several" if text == b"{" else "a JSON array"
            raise TripletError(f"{name}:{number}: must be one JSON object per line, got {got}")
        first = False
        yield f"{name}:{number}", _json_row(line)


def _json_row(line: bytes) -> Any:
    if len(line) > LINE_BYTES:
        return ValueError(f"line must be at most {LINE_BYTES} bytes, got {len(line)}")
    try:
        return json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        return ValueError(f"must be UTF-8, got byte 0x{line[error.start]:02x} at {error.start}")
    except json.JSONDecodeError as error:
        return ValueError(f"must be JSON, got {error.msg!r} at column {error.colno}")
    except RecursionError:
        return ValueError("must be JSON, got arrays or objects nested without end")
    except ValueError as error:
        return ValueError(f"must be JSON, got {str(error)[:80]!r}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name} given twice")
        fields[name] = value
    return fields


def _constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON number")


def _parquet_rows(name: str, data: bytes) -> Iterator[tuple[str, Any]]:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        known = [alias for aliases in DIALECTS.values() for alias in aliases]
        columns = [column for column in file.schema_arrow.names if column in known]
        if not columns:
            got = ", ".join(file.schema_arrow.names)
            raise TripletError(f"{name}: must have columns input, edit, output, got {got[:80]!r}")
        check_plain(file.schema_arrow, columns)
        number = 0
        for batch in file.iter_batches(columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield f"{name}: row {number}", row
    except UnicodeDecodeError as error:
        raise TripletError(
            f"{name}: must be UTF-8, got {error.object[error.start :][:8]!r}"
        ) from None
    except TripletError:
        raise
    except Exception as error:  # Arrow's, or of whoever registered a type that the file names
        raise TripletError(
            f"{name}: must be a whole Parquet file, got {len(data)} bytes that cannot be read "
            f"({type(error).__name__})"
        ) from error


def _triplet(row: Any) -> Triplet:
    """Raises `ValueError` with rule and got."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"line must be a JSON object, got {json.dumps(row)[:40]}")
    fields: dict[str, Any] = {}
    for name, aliases in DIALECTS.items():
        alias = next((a for a in aliases if a in row), None)
        value = row[alias] if alias else None
        if value is None and name not in REQUIRED:
            continue
        if alias is None:
            known, got = ", ".join(aliases), repr(", ".join(row))[:80]
            raise ValueError(f'field "{aliases[-1]}": expected one of {known}, got {got}')
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f'field "{alias}": must be text, got half a surrogate pair')
        if not isinstance(value, str) or not _is_seen(value):
            got = "null" if value is None else repr(value)[:60]
            raise ValueError(f'field "{alias}": expected non-empty text, got {got}')
        fields[name] = value
    if _as_tokenised(fields["original_prompt"]) == _as_tokenised(fields["edited_prompt"]):
        raise ValueError(
            "edited prompt must differ from the original by more than blanks and capitals, "
            f"got {fields['edited_prompt']!r}"[:200]
        )
    try:
        return Triplet(**fields)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None


def _is_seen(text: str) -> bool:
    """Whether anything of it would show: not only blanks, or marks of no width and of direction."""
    return any(c.isprintable() and not c.isspace() for c in text)


def _as_tokenised(prompt: str) -> list[str]:
    """CLIP's tokenizers see neither capitals nor how many blanks there are."""
    return prompt.lower().split()
