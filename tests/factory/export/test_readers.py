"""What was exported is read by its real readers, and is what the run holds."""

import hashlib
import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from factory.__main__ import app
from factory.dataset.files import find_files
from factory.export.splits import place_of
from factory.ledger.manifest import newest_manifest
from factory.ledger.run import open_run
from factory.pairs.sheet import sealed_pairs
from factory.pairs.triplets import read_triplets
from schemas.pair import Pair
from tests.factory.export.runs import PROMPTS, sealed_run, shared_run
from tests.stub_source import triplets

MIRROR = ["original_prompt", "original_image", "edit_prompt", "edited_prompt", "edited_image"]
"""Of `timbrooks/instructpix2pix-clip-filtered`, by its card."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def exported(tmp_path, form, *options, run=None):
    to = tmp_path / form
    words = ["export", run or shared_run(), "--to", str(to), "--format", form, *options]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return to


def pairs_of(uri):
    run = open_run(uri)
    return list(sealed_pairs(run, newest_manifest(run)[1]))


def name(row):
    return row["triplet_id"], row["index"]


def pixels(data):
    return Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def check_pairs(rows, pairs, image):
    """Rows that a reader gave, by their names, against the run's; `image` gives a picture's bytes."""
    found = {name(row): row for row in rows}
    assert len(found) == len(rows) == len(pairs)
    for pair in pairs:
        row = found[pair.triplet_id, pair.index]
        for field, value in pair.model_dump().items():
            if isinstance(value, dict):
                assert image(row[field]) == pixels(value["bytes"])
            else:
                assert (row[field] or None) == (value or None), field


def test_hf_loads_in_three_splits_as_it_was_sealed(tmp_path):
    to = exported(tmp_path, "hf")
    loaded = datasets.load_dataset(str(to))
    assert list(loaded) == ["train", "validation", "test"]
    assert loaded["train"].column_names[:5] == MIRROR
    rows = [row for split in loaded.values() for row in split]
    check_pairs(rows, pairs_of(shared_run()), lambda image: image.convert("RGB").tobytes())
    prompts = [set(split["original_prompt"]) for split in loaded.values()]
    assert all(prompts)
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == PROMPTS


def test_hf_shards_have_small_row_groups_and_a_page_index(tmp_path):
    to = exported(tmp_path, "hf", "--set", "recipe.group_rows=7")
    for path in (to / "data").iterdir():
        metadata = pq.ParquetFile(path).metadata
        groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        assert [group.num_rows for group in groups[:-1]] == [7] * (len(groups) - 1)
        assert 0 < groups[-1].num_rows <= 7
        for group in groups:
            columns = [group.column(n) for n in range(group.num_columns)]
            assert all(column.has_offset_index for column in columns)
            texts = {c.path_in_schema: c.has_column_index for c in columns}
            assert texts["original_prompt"]
            codecs = {c.path_in_schema: c.compression for c in columns}
            assert codecs["original_image.bytes"] == "UNCOMPRESSED"
            assert codecs["edit_prompt"] == "ZSTD"


def test_hf_streams_and_is_resumed_twice(tmp_path):
    to = exported(tmp_path, "hf", "--set", "recipe.group_rows=5")
    whole = [name(row) for row in datasets.load_dataset(str(to), split="train", streaming=True)]
    seen, state = [], None
    for count in (9, 13, None):
        stream = datasets.load_dataset(str(to), split="train", streaming=True)
        if state is not None:
            stream.load_state_dict(state)
        for number, row in enumerate(stream, 1):
            seen.append(name(row))
            if number == count:
                state = stream.state_dict()
                break
    assert seen == whole
    assert len(whole) > 30


def test_an_export_is_a_dataset_of_ours_and_the_list_that_makes_it_again(tmp_path):
    to = exported(tmp_path, "hf")
    files = find_files(str(to), "data/train-*")
    assert list(files.names) == ["data/train-00000-of-00001.parquet"]
    again = {one.triplet_id for one in read_triplets(str(to)).triplets}
    assert again == {pair.triplet_id for pair in pairs_of(shared_run())}
    config = CliRunner().invoke(
        app,
        ["plan", "--config", str(to / "generate.yaml"), "--triplets", str(to), "--json"],
    )
    assert config.exit_code == 0, config.output
    assert json.loads(config.stdout)["triplets"] == PROMPTS


def test_spellings_of_a_caption_lie_on_one_side(tmp_path):
    listed = []
    for one in triplets(12):
        for text in (
            one.original_prompt,
            f"{one.original_prompt.upper()}!",
            f" {one.original_prompt}.",
        ):
            listed.append(
                one.model_copy(update={"original_prompt": text, "edit_prompt": text + "?"})
            )
    run = sealed_run(str(tmp_path / "run"), listed=listed)
    to = exported(
        tmp_path, "hf", "--set", "recipe.test=0.3", "--set", "recipe.validation=0.3", run=run.uri
    )
    sides = defaultdict(set)
    for split, rows in datasets.load_dataset(str(to)).items():
        for row in rows:
            sides[place_of(row["original_prompt"])].add(split)
    assert len(sides) == 12
    assert all(len(there) == 1 for there in sides.values())
    assert {split for there in sides.values() for split in there} == {"train", "validation", "test"}


def test_imagefolder_loads_as_it_was_sealed(tmp_path):
    to = exported(tmp_path, "imagefolder")
    loaded = datasets.load_dataset(str(to))
    assert list(loaded) == ["train", "validation", "test"]
    rows = [row for split in loaded.values() for row in split]
    check_pairs(rows, pairs_of(shared_run()), lambda image: image.convert("RGB").tobytes())


def test_imagefolder_of_several_shards_loads_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.export.shards.MB", 3000)
    to = exported(tmp_path, "imagefolder", "--set", "recipe.shard_mb=1")
    assert len(list((to / "train").iterdir())) > 2
    rows = [row for split in datasets.load_dataset(str(to)).values() for row in split]
    assert {name(row) for row in rows} == {(p.triplet_id, p.index) for p in pairs_of(shared_run())}


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_ip2p_is_what_the_originals_loader_opens(tmp_path, codec):
    run = sealed_run(str(tmp_path / "run"), codec={"format": codec})
    to = exported(tmp_path, "ip2p", run=run.uri)
    pairs = {str(pair.seed): pair for pair in pairs_of(run.uri)}
    seeds = json.loads((to / "seeds.json").read_text())
    assert seeds == sorted(seeds)
    assert sorted(seed for _, held in seeds for seed in held) == sorted(pairs)
    assert [folder for folder, _ in seeds] == [f"{n:07d}" for n in range(len(seeds))]
    for folder, held in seeds:
        assert held == sorted(held)
        # As `EditDataset.__getitem__` of the original opens them.
        prompt = json.loads((to / folder / "prompt.json").read_text())
        told = [
            json.loads(line) for line in (to / folder / "metadata.jsonl").read_text().splitlines()
        ]
        assert [str(one["seed"]) for one in told] != []
        for seed in held:
            pair = pairs[seed]
            assert (prompt["edit"], prompt["input"]) == (pair.edit_prompt, pair.original_prompt)
            assert prompt["output"] == pair.edited_prompt
            for side, stored in enumerate((pair.original_image, pair.edited_image)):
                path = to / folder / f"{seed}_{side}.jpg"
                with Image.open(path) as picture:
                    assert (picture.format, picture.mode) == ("JPEG", "RGB")
                if codec == "jpeg":
                    assert path.read_bytes() == stored.bytes
        line = next(one for one in told if str(one["seed"]) == held[0])
        assert line == {key: getattr(pairs[held[0]], key) for key in line}
        assert list(line)[:3] == ["seed", "p2p_threshold", "cfg_scale"]


def test_webdataset_reads_tars_whose_indices_are_right(tmp_path):
    import webdataset

    to = exported(tmp_path, "webdataset")
    rows = []
    for split in ("train", "validation", "test"):
        index = json.loads((to / f"wids-{split}.json").read_text())
        assert index["wids_version"] == 1
        for shard in index["shardlist"]:
            data = (to / shard["url"]).read_bytes()
            assert len(data) == shard["filesize"]
            assert hashlib.md5(data).hexdigest() == shard["md5sum"]
            assert hashlib.sha256(data).hexdigest() == shard["sha256"]
            told = json.loads((to / shard["url"].replace(".tar", ".json")).read_text())
            assert (told["filesize"], told["hash_lfs"]) == (len(data), shard["sha256"])
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                members = tar.getmembers()
            for member in members:
                there = told["files"].pop(member.name)
                part = data[there["offset"] : there["offset"] + there["length"]]
                assert hashlib.sha256(part).hexdigest() == there["sha256"]
                assert member.offset_data == there["offset"]
            assert told["files"] == {}
            read = list(
                webdataset.WebDataset(str(to / shard["url"]), shardshuffle=False).decode("pil")
            )
            assert len(read) == shard["nsamples"]
            for sample in read:
                pictures = {key: sample[f"{key}.png"] for key in ("original_image", "edited_image")}
                rows.append(sample["json"] | pictures)
                assert sample["__key__"] == "{}-{}".format(*name(sample["json"]))
    check_pairs(rows, pairs_of(shared_run()), lambda image: image.convert("RGB").tobytes())


def test_wids_reads_pairs_by_number(tmp_path):
    import wids
    from wids.wids_decode import decode_basic, decode_images_to_pil

    to = exported(tmp_path, "webdataset")
    rows = []
    for split in ("train", "validation", "test"):
        numbered = wids.ShardListDataset(
            str(to / f"wids-{split}.json"),
            cache_dir=str(tmp_path / "cache"),
            keep=True,
            transformations=[decode_basic, decode_images_to_pil],
        )
        for number in reversed(range(len(numbered))):
            sample = numbered[number]
            pictures = {key: sample[f".{key}.png"] for key in ("original_image", "edited_image")}
            rows.append(sample[".json"] | pictures)
    check_pairs(rows, pairs_of(shared_run()), lambda image: image.convert("RGB").tobytes())


def test_webdataset_loads_with_datasets_too(tmp_path):
    to = exported(tmp_path, "webdataset")
    loaded = datasets.load_dataset(str(to))
    assert sum(split.num_rows for split in loaded.values()) == len(pairs_of(shared_run()))


def test_every_column_is_the_records(tmp_path):
    to = exported(tmp_path, "hf")
    path = Path(to, "data", "train-00000-of-00001.parquet")
    assert pq.read_schema(path).names == list(Pair.model_fields)
