"""Read triplet lists in every dialect in use: JSON lines, CSV or Parquet, local or S3."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from factory.errors import InputError, ListError, StorageError
from factory.ledger import keys
from factory.ledger.manifest import newest_manifest, sealed_object_uris
from factory.ledger.run import open_run
from factory.lists.bad_lines import BadLines
from factory.lists.read import is_missing, is_unicode, rows_of
from factory.lists.rows import Rows
from factory.prompt_text import told_text
from factory.storage.open import open_store
from factory.untrusted_parquet.names import SUFFIX
from factory.untrusted_parquet.texts import MOST_TEXT, TooLong
from schemas.captions import CAPTIONS, TRIPLETS
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
    """Read a list, or what a run of `captions` ended with; `miniature` names the bundled list.

    Raises `ListError` where there is no usable line, or more than `max_bad` bad ones: the message
    is the first bad line's.
    """
    uri = uri.rstrip("/") if uri.rstrip("/").endswith(SUFFIX) else uri
    name = "triplets.jsonl" if uri == "miniature" else uri.rsplit("/", 1)[-1]
    result = TripletList()
    seen: set[str] = set()
    bad = BadLines(max_bad)
    before: Any = None
    for where, row in _rows(uri, name):
        if before is not None and row == before:
            # Long words in many rows take a few bytes of Parquet; so they take little time too.
            result.duplicates += 1
            continue
        try:
            triplet = _triplet(row)
        except ValueError as error:
            bad.add(where, error)
            continue
        before = row
        if triplet.triplet_id in seen:
            result.duplicates += 1
            continue
        seen.add(triplet.triplet_id)
        result.triplets.append(triplet)
    bad.check()
    result.bad = bad.messages
    if not result.triplets:
        first = f" and {bad.count} bad ones, first: {bad.messages[0]}" if bad.count else ""
        raise ListError(f"{name}: must hold at least one triplet, got 0 usable lines{first}")
    return result


def _rows(uri: str, name: str) -> Rows:
    """Of a file, of all files that a run of `captions` ended with, or of a dataset of pairs."""
    if uri == "miniature":
        yield from rows_of(str(BUNDLED), name, KNOWN, _WANTED)
        return
    for place in _files_of_run(uri) or _files_of_dataset(uri) or [uri]:
        yield from rows_of(place, name, KNOWN, _WANTED)


_WANTED = "input, edit, output"
SHARDS = "data/"
"""Where a dataset of the Hub holds its Parquet files."""


def _files_of_run(uri: str) -> list[str]:
    """The sealed triplets of a run of `captions`; none where no run lies there. Raises `ListError`."""
    try:
        store = open_store(uri)
        if store.find(keys.RUN) is None:
            return []
    except (InputError, StorageError):
        # Whoever opens it as a list says what it is.
        return []
    run = open_run(store)
    if run.layout.stage != CAPTIONS.stage:
        raise ListError(
            f"{uri}: must be a list or a run of `captions`, got one of `{run.layout.stage}`"
        )
    if newest_manifest(run) is None:
        raise ListError(
            f"{uri}: must be sealed, got a run that is open; run `captions` to its end, or "
            "`editmill seal --partial`"
        )
    found = [place for place in sealed_object_uris(run) if TRIPLETS in place.rpartition("/")[2]]
    if not found:
        raise ListError(f"{uri}: must hold at least one triplet, got none that was accepted")
    return found


def _files_of_dataset(uri: str) -> list[str]:
    """The shards of a dataset as `export` and the Hub lay them; none where none lie there.

    A triplet's pairs depend on nothing but itself, so that its pairs are a list that makes them again.
    """
    try:
        store = open_store(uri)
        names = [one.key for one in store.list(SHARDS) if one.key.endswith(SUFFIX)]
    except (InputError, StorageError):
        return []
    return [f"{store.uri}/{name}" for name in names]


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
    alias = next((one for one in aliases if not is_missing(row.get(one))), None)
    if alias is None and name not in REQUIRED:
        return None
    alias = alias or next((one for one in aliases if one in row), None)
    if alias is None:
        known, got = ", ".join(aliases), repr(", ".join(row))[:80]
        raise ValueError(f'field "{aliases[-1]}": expected one of {known}, got {got}')
    value = row[alias]
    if isinstance(value, ValueError):
        raise ValueError(f'field "{alias}": {value}')
    if isinstance(value, str) and not is_unicode(value):
        raise ValueError(f'field "{alias}": must be text, got half a surrogate pair')
    if not isinstance(value, str) or is_missing(value):
        got = "null" if value is None else repr(value)[:60]
        raise ValueError(f'field "{alias}": expected non-empty text, got {got}')
    if len(value) > MOST_TEXT // 4 and (length := len(value.encode())) > MOST_TEXT:
        raise ValueError(f'field "{alias}": {TooLong(length)}')
    return value
