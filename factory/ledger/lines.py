"""Units as one line each, many to a Parquet file: in roll-ups with all, in manifests by content alone."""

import json
from collections.abc import Sequence
from typing import TypeVar

from schemas.arrow import read_rows, write_rows
from schemas.ledger.commit import LedgerLine, UnitLine
from schemas.ledger.layout import Layout, from_stored, renamed, to_stored
from schemas.ledger.tally import Tally

L = TypeVar("L", bound=UnitLine)

_KINDS = {
    "unit": "int",
    "data_bytes": "int",
    "generation": "int",
    "seconds": "float",
}
"""Of the columns that are no text."""


def write_lines(layout: Layout, kind: type[L], lines: Sequence[L]) -> bytes:
    """Lines as one file, under the stage's names."""
    columns = _columns(layout, kind)
    rows = [{"earlier": "", **to_stored(layout, line)} for line in lines]
    return write_rows(columns, rows)


def read_lines(layout: Layout, kind: type[L], data: bytes) -> list[L]:
    """The lines of a file. Raises `ValueError` where a byte is not what was written."""
    rows, _ = read_rows(_columns(layout, kind), data)
    return [kind.model_validate(from_stored(layout, kind, row)) for row in rows]


def tally_of(layout: Layout, line: LedgerLine) -> Tally:
    """The counts of a unit."""
    return Tally.model_validate(from_stored(layout, Tally, json.loads(line.tally)))


def _columns(layout: Layout, kind: type[UnitLine]) -> dict[str, str]:
    kinds = {name: _KINDS.get(name, "str") for name in kind.model_fields}
    if layout.retry == "unit":
        del kinds["earlier"]
    counts = dict.fromkeys(layout.counts, "int")
    columns: dict[str, str] = {}
    for name, column in kinds.items():
        columns |= counts if name == "counts" else renamed(layout, {name: column})
    return columns
