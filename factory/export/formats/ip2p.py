"""The folders of InstructPix2Pix, which its own training code reads: one a triplet, numbered.

    0000042/prompt.json  metadata.jsonl  <seed>_0.jpg  <seed>_1.jpg       seeds.json

Folders are in the order of the splits: its `EditDataset` takes shares of `seeds.json` from the start. The
released code wrote what it drew under the words of its list, `input` or `caption`: both are here.
Source: `edit_dataset.py` and `dataset_creation/` of github.com/timothybrooks/instruct-pix2pix.
"""

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa

from factory.export.counts import SCORES
from factory.export.formats.file import File, Rows, as_jpeg, lines_of, triplets_in
from schemas.canonical import canonical_json
from schemas.export import ExportRecipe, Shard

READ = """# in the folder of github.com/timothybrooks/instruct-pix2pix
from edit_dataset import EditDataset

train = EditDataset("{place}", split="train", splits=({shares}))"""
METADATA = ("seed", "p2p_threshold", "cfg_scale", *SCORES)


def files(recipe: ExportRecipe, shard: Shard, tables: Iterator[pa.Table]) -> Iterator[File]:
    """As `Format`."""
    for number, rows in enumerate(triplets_in(tables), shard.first):
        folder, first = f"{number:07d}", rows[0]
        prompt = {
            "input": first["original_prompt"],
            "caption": first["original_prompt"],
            "edit": first["edit_prompt"],
            "output": first["edited_prompt"],
        }
        seeds = sorted(str(row["seed"]) for row in rows)
        text = json.dumps(prompt, ensure_ascii=False).encode()
        yield File(f"{folder}/prompt.json", text, {"seeds": [folder, seeds]})
        told = [{name: row[name] for name in METADATA} for row in rows]
        yield File(f"{folder}/metadata.jsonl", lines_of(told))
        for row in rows:
            for side, name in enumerate(("original_image", "edited_image")):
                yield File(f"{folder}/{row['seed']}_{side}.jpg", as_jpeg(row[name]["bytes"]))


def patterns(splits: Sequence[str]) -> dict[str, str]:
    """None: `datasets` has no reader for these folders."""
    return {}


def indices(splits: Sequence[str], rows: Rows) -> Iterator[tuple[str, bytes]]:
    """`seeds.json`."""
    seeds = [row["facts"]["seeds"] for row in rows if "seeds" in row["facts"]]
    yield "seeds.json", canonical_json(sorted(seeds))
