"""Tar shards for `webdataset` and `wids`: two pictures and a JSON file a pair, and indices with hashes.

Beside each shard lies an index of what it holds, with offsets, sizes and hashes, as `webshart` and others
read single files by ranges; beside all of them one of the shards of each split, as `wids` takes it.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence

import pyarrow as pa

from factory.export.formats.file import File, Rows, ending_of
from schemas.canonical import canonical_json
from schemas.export import ExportRecipe, Shard

READ = """import webdataset

shards = webdataset.WebDataset("{place}/train-{{00000..LAST}}-of-N.tar", shardshuffle=False).decode("pil")
# of a sample: original_image.png, edited_image.png, json"""
IMAGES = ("original_image", "edited_image")
MODE = 0o644


def files(recipe: ExportRecipe, shard: Shard, tables: Iterator[pa.Table]) -> Iterator[File]:
    """As `Format`."""
    sink = io.BytesIO()
    index: dict[str, dict[str, object]] = {}
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), MODE
            index[name] = {
                "offset": sink.tell() + tarfile.BLOCKSIZE,
                "length": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            tar.addfile(info, io.BytesIO(data))

        for table in tables:
            for row in table.to_pylist():
                # Up to the first dot is what a sample's files share.
                name = f"{row['triplet_id']}-{row['index']}"
                for image in IMAGES:
                    data = row.pop(image)["bytes"]
                    add(f"{name}.{image}.{ending_of(data)}", data)
                add(f"{name}.json", json.dumps(row, ensure_ascii=False).encode())
    data = sink.getvalue()
    hashes = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
    yield File(f"{shard.name}.tar", data, {"md5": hashes["md5"]})
    told = {
        "path": f"{shard.name}.tar",
        "filesize": len(data),
        "hash_lfs": hashes["sha256"],
        "files": index,
    }
    yield File(f"{shard.name}.json", canonical_json(told))


def patterns(splits: Sequence[str]) -> dict[str, str]:
    """As `Format`."""
    return {split: f"{split}-*.tar" for split in splits}


def indices(splits: Sequence[str], rows: Rows) -> Iterator[tuple[str, bytes]]:
    """`wids-train.json` and so on."""
    for split in splits:
        shards = [
            {
                "url": row["key"],
                "nsamples": row["pairs"],
                "filesize": row["bytes"],
                "md5sum": row["facts"]["md5"],
                "sha256": row["sha256"],
            }
            for row in rows
            if row["split"] == split
        ]
        told = {
            "__kind__": "wids-shard-index-v1",
            "wids_version": 1,
            "name": split,
            "shardlist": shards,
        }
        yield f"wids-{split}.json", canonical_json(told)
