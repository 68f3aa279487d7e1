"""Pairs the other way round, which the benchmark of editors trains on."""

import pyarrow.parquet as pq
import pytest

from benchmarks.editors import back
from factory.dataset.dataset import Dataset
from factory.miniature import world
from schemas.arrow import Image, to_parquet
from schemas.pair import Pair
from schemas.triplet import Triplet
from tests.trainer.small import png

TEXTS = ("original_prompt", "edit_prompt", "edited_prompt")


def pair(number, line):
    texts = dict(zip(TEXTS, (line["input"], line["edit"], line["output"]), strict=True))
    asked = Triplet.model_validate(texts)
    return Pair(
        **texts,
        original_image=Image(bytes=png(number), path="0.png"),
        edited_image=Image(bytes=png(number + 1), path="1.png"),
        edit_kind=line["edit_kind"],
        triplet_id=asked.triplet_id,
        index=number,
        seed=number,
        p2p_threshold=0.5,
        cfg_scale=7.5,
        clip_sim_0=0.25,
        clip_sim_1=0.75,
        clip_sim_dir=0.3,
        clip_sim_image=0.8,
    )


@pytest.fixture
def file(tmp_path):
    """Two pairs of every kind."""
    lines = world.triplets(2 * len(world.EDIT_KINDS), 7)
    path = tmp_path / "pairs.parquet"
    path.write_bytes(to_parquet(Pair, [pair(number, line) for number, line in enumerate(lines)]))
    return path


def test_a_pair_the_other_way_round_starts_at_its_edited_picture_and_asks_for_the_first(file):
    pairs = pq.read_table(file)
    for there, turned in zip(pairs.to_pylist(), back(pairs).to_pylist(), strict=True):
        assert turned["original_prompt"] == there["edited_prompt"]
        assert turned["edited_prompt"] == there["original_prompt"]
        assert turned["original_image"]["bytes"] == there["edited_image"]["bytes"]
        assert turned["edited_image"]["bytes"] == there["original_image"]["bytes"]
        assert (turned["clip_sim_0"], turned["clip_sim_1"]) == (0.75, 0.25)
        wanted = world.parse_caption(there["original_prompt"])
        word = getattr(wanted, there["edit_kind"])
        says = {"": ("day", "clear"), "at night": ("night",), "in fog": ("fog",)}.get(word, (word,))
        assert any(each in turned["edit_prompt"] for each in says)
        asked = Triplet.model_validate({name: turned[name] for name in TEXTS})
        assert turned["triplet_id"] == asked.triplet_id


def test_a_folder_of_both_ways_is_read_as_twice_the_prompts(file):
    pq.write_table(back(pq.read_table(file)), file.with_name("back.parquet"))
    assert len(Dataset.open(str(file)).prompts) == 10
    both = Dataset.open(str(file.parent))
    assert (len(both), len(both.prompts)) == (20, 20)
