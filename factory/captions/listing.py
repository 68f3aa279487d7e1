"""Read captions: JSON lines, CSV, Parquet or plain text, a file or an s3:// address."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from factory.errors import InputError, ListError
from factory.lists.bad_lines import BadLines
from factory.lists.read import is_missing, is_unicode, rows_of
from factory.lists.rows import LINE_BYTES
from factory.storage.read import open_object
from factory.untrusted_parquet.names import SUFFIX
from factory.untrusted_parquet.texts import MOST_TEXT, TooLong
from schemas.captions import CaptionItem

COLUMNS = ("caption", "TEXT", "text", "input", "original_prompt", "prompt", "top_caption")
"""Where captions stand: ours, LAION's, InstructPix2Pix's published files', LAION-COCO's."""
URLS = ("url", "URL")
SCORES = ("AESTHETIC_SCORE", "aesthetic_score", "aesthetic")
"""LAION's prediction of how a picture pleases, 1..10."""
UNSAFE = ("NSFW", "nsfw", "punsafe")
"""LAION's word, or a probability."""
SAFE_WORDS = frozenset({"unlikely", "false", "0", "no", "none", ""})
UNSAFE_SHARE = 0.5


@dataclass(frozen=True)
class Wanted:
    """Which rows of a list are taken."""

    column: str | None = None
    """Of the captions; None takes the first known one that says anything."""
    least_aesthetic: float | None = None
    """Rows of a smaller score are left out, and rows without one."""
    only_safe: bool = False
    """Leave out what is marked as not safe for work."""

    @property
    def known(self) -> tuple[str, ...]:
        columns = (self.column,) if self.column else COLUMNS
        return (*columns, *URLS, *SCORES, *UNSAFE)


@dataclass
class CaptionList:
    """What was read: distinct captions in order, and what was left out."""

    items: list[CaptionItem] = field(default_factory=list)
    duplicates: int = 0
    filtered: int = 0
    """Of too small a score, or not safe."""
    bad: list[str] = field(default_factory=list)
    """One message per skipped line."""


def read_captions(uri: str, wanted: Wanted, max_bad: int = 0) -> CaptionList:
    """Read a list.

    Raises `ListError` where there is no usable line, or more than `max_bad` bad ones: the message is the
    first bad line's.
    """
    uri = uri.rstrip("/") if uri.rstrip("/").endswith(SUFFIX) else uri
    name = uri.rsplit("/", 1)[-1]
    result, seen, bad = CaptionList(), set[str](), BadLines(max_bad)
    for where, row in _rows(uri, name, wanted):
        try:
            if _is_left_out(row, wanted):
                result.filtered += 1
                continue
            item = _item(row, wanted)
        except ValueError as error:
            bad.add(where, error)
            continue
        if item.item_id in seen:
            result.duplicates += 1
            continue
        seen.add(item.item_id)
        result.items.append(item)
    bad.check()
    result.bad = bad.messages
    if not result.items:
        left = f", {result.filtered} left out by their score or mark" if result.filtered else ""
        raise ListError(f"{name}: must hold at least one caption, got 0 usable lines{left}")
    return result


def _rows(uri: str, name: str, wanted: Wanted) -> Any:
    if name.lower().endswith(".txt"):
        return _lines(uri, name)
    return rows_of(uri, name, wanted.known, ", ".join(wanted.known[:4]))


def _lines(uri: str, name: str) -> Any:
    """A caption a line; the first column has no name."""
    stream = open_object(uri)
    number = 0
    try:
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise InputError(
                    f"{name}:{number}: line must be at most {LINE_BYTES} bytes, got more"
                )
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            where = f"{name}:{number}"
            try:
                yield where, {"caption": text.decode().rstrip("\r\n")}
            except UnicodeDecodeError as error:
                got = f"byte 0x{text[error.start]:02x} at {error.start}"
                yield where, ValueError(f"must be UTF-8, got {got}")
    finally:
        stream.close()


def _is_left_out(row: Any, wanted: Wanted) -> bool:
    if not isinstance(row, dict):
        return False
    if wanted.least_aesthetic is not None:
        score = _number(_first(row, SCORES))
        if score is None or score < wanted.least_aesthetic:
            return True
    if wanted.only_safe:
        mark = _first(row, UNSAFE)
        share = _number(mark)
        if share is not None:
            return share >= UNSAFE_SHARE
        return str(mark or "").strip().lower() not in SAFE_WORDS
    return False


def _item(row: Any, wanted: Wanted) -> CaptionItem:
    """Raises `ValueError` with rule and got."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"line must be a JSON object, got {str(row)[:40]!r}")
    columns = (wanted.column,) if wanted.column else COLUMNS
    column = next((one for one in columns if not is_missing(row.get(one))), None)
    if column is None:
        column = next((one for one in columns if one in row), None)
        if column is None:
            got = repr(", ".join(row))[:80]
            raise ValueError(f"expected a column of {', '.join(columns)}, got {got}")
    text = row[column]
    if isinstance(text, ValueError):
        raise ValueError(f'field "{column}": {text}')
    if isinstance(text, str) and not is_unicode(text):
        raise ValueError(f'field "{column}": must be text, got half a surrogate pair')
    if not isinstance(text, str) or is_missing(text):
        got = "null" if text is None else repr(text)[:60]
        raise ValueError(f'field "{column}": expected non-empty text, got {got}')
    if (length := len(text.encode())) > MOST_TEXT:
        raise ValueError(f'field "{column}": {TooLong(length)}')
    url = _first(row, URLS)
    return CaptionItem(caption=text.strip(), url=url if isinstance(url, str) else None)


def _first(row: dict[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if not is_missing(row.get(name))), None)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
