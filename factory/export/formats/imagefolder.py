"""Pictures in folders with a `metadata.jsonl` in each, which `datasets`' `imagefolder` and others read.

train/00000-of-00004/metadata.jsonl  <triplet>-<index>.original.png  <triplet>-<index>.edited.png
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from factory.export.formats.file import File, Rows, ending_of, lines_of
from schemas.export import ExportRecipe, Shard

READ = """import datasets

pairs = datasets.load_dataset("{place}")"""
IMAGES = {"original_image": "original", "edited_image": "edited"}


def files(recipe: ExportRecipe, shard: Shard, tables: Iterator[pa.Table]) -> Iterator[File]:
    """As `Format`."""
    folder = f"{shard.split}/{shard.name.removeprefix(f'{shard.split}-')}"
    told: list[dict[str, Any]] = []
    pictures: list[File] = []
    for table in tables:
        for row in table.to_pylist():
            names = {}
            for image, side in IMAGES.items():
                data = row.pop(image)["bytes"]
                name = f"{row['triplet_id']}-{row['index']}.{side}.{ending_of(data)}"
                pictures.append(File(f"{folder}/{name}", data))
                names[f"{image}_file_name"] = name
            # Of one type in all folders, which a column of nulls alone has not.
            told.append({**names, **row, "edit_kind": row["edit_kind"] or ""})
    yield File(f"{folder}/metadata.jsonl", lines_of(told))
    yield from pictures


def patterns(splits: Sequence[str]) -> dict[str, str]:
    """As `Format`."""
    return {split: f"{split}/**" for split in splits}


def indices(splits: Sequence[str], rows: Rows) -> Iterator[tuple[str, bytes]]:
    """None: each folder has its list."""
    return iter(())
