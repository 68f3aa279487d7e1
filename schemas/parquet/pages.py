"""What the pages of a column chunk unpack to, by their own headers: a footer may say something else.

Source: github.com/apache/parquet-format, parquet.thrift (PageHeader).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from schemas.parquet.thrift import read_struct

FIRST_READ = 512
"""Bytes that nearly always hold a header."""
MOST_HEADER = 2**24
"""Bytes; Arrow's readers take no more."""
DICTIONARY = 2
DELTA_BYTE_ARRAY = 7
"""An encoding whose values begin as the one before them."""


@dataclass(frozen=True)
class Unpacked:
    """What becomes of a column chunk."""

    bytes: int
    """All its pages, unpacked."""
    value: int
    """No value of it is longer than so many bytes."""
    is_dictionary: bool
    """Whether values stand in a page of their own, and may come again in many rows."""
    is_delta: bool
    """Whether values begin as the one before them."""

    @property
    def repeats(self) -> bool:
        """Whether one page's bytes may come again in many values."""
        return self.is_dictionary or self.is_delta


def unpacked(read: Callable[[int, int], bytes], start: int, length: int) -> Unpacked:
    """Walk a chunk's pages; `read` gives a count of bytes at a place. Raises `ValueError`."""
    total = largest = 0
    dictionary = delta = False
    for header in _headers(read, start, start + length):
        size = int(header[2])
        total += size
        largest = max(largest, size)
        dictionary |= header[1] == DICTIONARY
        delta |= DELTA_BYTE_ARRAY in (_of(header, 5, 2), _of(header, 8, 4))
    return Unpacked(total, total if delta else largest, dictionary, delta)


def first_page(chunk: Any) -> int:
    """Where a column chunk begins, as Arrow finds it; `chunk` is what the footer says of it."""
    dictionary = chunk.dictionary_page_offset
    if dictionary is not None and 0 < dictionary < chunk.data_page_offset:
        return int(dictionary)
    return int(chunk.data_page_offset)


def _of(header: dict[int, Any], page: int, number: int) -> Any:
    """A field of the header's part for data pages of the first or of the second kind."""
    part = header.get(page)
    return part.get(number) if isinstance(part, dict) else None


def _headers(read: Callable[[int, int], bytes], at: int, end: int) -> Iterator[dict[int, Any]]:
    while at < end:
        header, size = _header(read, at, end)
        if not all(isinstance(header.get(n), int) and header[n] >= 0 for n in (1, 2, 3)):
            raise ValueError("a page without its sizes")
        yield header
        at += size + header[3]


def _header(read: Callable[[int, int], bytes], at: int, end: int) -> tuple[dict[int, Any], int]:
    count = FIRST_READ
    while True:
        try:
            return read_struct(read(min(count, end - at), at))
        except IndexError:
            # Extremes of its values may be in it.
            if count >= min(MOST_HEADER, end - at):
                raise ValueError("a page whose header has no end") from None
            count *= 16
