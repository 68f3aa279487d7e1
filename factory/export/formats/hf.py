"""Parquet shards as the Hub has them: small row groups, a page index, images as `datasets` stores them.

Names are those of `datasets`' own `push_to_hub`. Row groups are small, since a viewer, and whoever reads
one row, fetches a whole one; with the index of its pages it fetches the page alone.
"""

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from factory.export.formats.file import File, Rows
from factory.export.source import SCHEMA
from schemas.export import ExportRecipe, Shard

READ = """import datasets

pairs = datasets.load_dataset("{place}")  # or streaming=True"""
GROUP_BYTES = 100_000_000
"""Of a row group at most, about; the Hub's viewer gives up on 300 MB."""
IMAGES = ("original_image", "edited_image")
IMAGE_LEAVES = [f"{name}.bytes" for name in IMAGES]
OTHERS = [name for name in SCHEMA.names if name not in IMAGES] + [f"{name}.path" for name in IMAGES]


def files(recipe: ExportRecipe, shard: Shard, tables: Iterator[pa.Table]) -> Iterator[File]:
    """As `Format`."""
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        # Pictures are packed already.
        compression={**dict.fromkeys(OTHERS, "zstd"), **dict.fromkeys(IMAGE_LEAVES, "none")},
        use_dictionary=OTHERS,
        write_statistics=OTHERS,
        write_page_index=True,
    ) as writer:
        for group in _groups(tables, recipe.group_rows):
            writer.write_table(group, row_group_size=group.num_rows)
    yield File(key_of(shard.name), sink.getvalue())


def key_of(name: str) -> str:
    """Where a shard lies."""
    return f"data/{name}.parquet"


def patterns(splits: Sequence[str]) -> dict[str, str]:
    """As `Format`."""
    return {split: key_of(f"{split}-*") for split in splits}


def indices(splits: Sequence[str], rows: Rows) -> Iterator[tuple[str, bytes]]:
    """None: the card's YAML is enough."""
    return iter(())


def _groups(tables: Iterator[pa.Table], most: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many; the last may hold fewer."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += table.num_rows
        per_row = max(1, table.nbytes // max(1, table.num_rows))
        wanted = max(1, min(most, GROUP_BYTES // per_row))
        while rows >= wanted:
            whole = pa.concat_tables(held)
            yield whole.slice(0, wanted)
            held, rows = [whole.slice(wanted)], rows - wanted
    if rows:
        yield pa.concat_tables(held)
