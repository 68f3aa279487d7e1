"""What all formats give: files at keys, made of a shard's rows as they come."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
from PIL import Image

from schemas.export import ExportRecipe, Shard

Rows = Sequence[Mapping[str, Any]]
"""First rows of shards, as commits hold them, `facts` read."""


@dataclass(frozen=True)
class File:
    """A file of a shard."""

    key: str
    data: bytes
    facts: dict[str, Any] = field(default_factory=dict)
    """What its outcome tells, beside what was seen of the shard."""


class Format(Protocol):
    """A file of this folder."""

    READ: str
    """How it is read, for the card; `{place}` is where it lies."""

    @staticmethod
    def files(recipe: ExportRecipe, shard: Shard, tables: Iterator[pa.Table]) -> Iterator[File]:
        """A shard's files, the first of which speaks of it; tables hold `schemas.pair.Pair`."""

    @staticmethod
    def patterns(splits: Sequence[str]) -> dict[str, str]:
        """The files of each split, for the YAML of a card; none where `datasets` cannot read them."""

    @staticmethod
    def indices(splits: Sequence[str], rows: Rows) -> Iterator[tuple[str, bytes]]:
        """What is made of all shards, each at a name beside them."""


def triplets_in(tables: Iterator[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each triplet, which lie together in one table."""
    for table in tables:
        held: list[dict[str, Any]] = []
        for row in table.to_pylist():
            if held and held[0]["triplet_id"] != row["triplet_id"]:
                yield held
                held = []
            held.append(row)
        if held:
            yield held


def ending_of(picture: bytes) -> str:
    """`png` or `jpg`, as a run stores them."""
    return "jpg" if picture.startswith(b"\xff\xd8") else "png"


def as_jpeg(picture: bytes) -> bytes:
    """A picture as JPEG of quality 100 (4:4:4); what is one stays as it is."""
    if ending_of(picture) == "jpg":
        return picture
    sink = io.BytesIO()
    with Image.open(io.BytesIO(picture), formats=("PNG",)) as opened:
        opened.convert("RGB").save(sink, "JPEG", quality=100, subsampling=0)
    return sink.getvalue()


def lines_of(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Records as JSON lines."""

    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records)
    return text.encode()
