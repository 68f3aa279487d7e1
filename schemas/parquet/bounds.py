"""How much a Parquet file may come to, by what it takes itself."""

import inspect
from typing import Any

import pyarrow.parquet as pq

MOST_FOOTER = 2**25
"""Bytes; parsed, a footer takes some twenty times as many."""
MOST_LISTED = 100_000
"""Columns, and row groups."""
DEEPEST = 64
"""Columns inside of one another."""
SPARE_ROWS = 100_000
"""Rows that a file may have beyond one for each of its bytes, where they are read one by one."""
UNPACKED_BYTES = 2**28
MOST_RATIO = 64
"""What is read at once may unpack to so much, or to so many times what it takes in the file."""
BATCH_BYTES = 2**27
"""Most that a batch of more than one row can come to."""


def most_unpacked(packed: int) -> int:
    """Bytes to which so many may unpack."""
    return max(UNPACKED_BYTES, MOST_RATIO * packed)


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Those that this release of pyarrow's reader takes; before 26 they are fewer."""
    known = inspect.signature(pq.ParquetFile.__init__).parameters
    return {name: value for name, value in options.items() if name in known}


LIMITS = known_options(
    {
        "schema_depth_limit": DEEPEST,
        "thrift_string_size_limit": MOST_FOOTER,
        "thrift_container_size_limit": MOST_LISTED,
    }
)
"""Of the reader, for its footer."""
