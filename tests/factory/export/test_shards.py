"""Shards: cut once, `k-of-n`, of about one size, a triplet's pairs together, nothing lost."""

from collections import Counter

from factory.export.shards import MB, TripletPairs, cut, groups_of, pieces_of
from factory.export.splits import place_of
from schemas.export import ExportRecipe


def some_groups(count, size):
    return [
        TripletPairs(f"pairs/{number // 4}", "0" * 64, (number % 4,), place_of(f"p {number}"), size)
        for number in range(count)
    ]


def test_shards_are_of_one_size_and_lose_no_pair():
    shards = cut(ExportRecipe(shard_mb=1), some_groups(400, MB // 10))
    splits = Counter(shard.split for shard in shards)
    for shard in shards:
        number, of = shard.name.removeprefix(f"{shard.split}-").split("-of-")
        assert int(of) == splits[shard.split] > int(number)
    train = [shard.pairs for shard in shards if shard.split == "train"]
    assert len(train) > 30
    assert max(train) - min(train) <= 1
    taken = [(key, row) for shard in shards for key, _, rows in pieces_of(shard) for row in rows]
    assert sorted(taken) == sorted((f"pairs/{n // 4}", n % 4) for n in range(400))
    assert sum(shard.pairs for shard in shards) == 400


def test_a_group_larger_than_a_shard_leaves_no_empty_one():
    shards = cut(ExportRecipe(shard_mb=1), some_groups(5, 7 * MB))
    assert sum(shard.pairs for shard in shards) == 5
    for split in ("train", "validation", "test"):
        of = [shard for shard in shards if shard.split == split]
        assert [shard.name for shard in of] == [
            f"{split}-{number:05d}-of-{len(of):05d}" for number in range(len(of))
        ]


def test_shards_know_how_many_triplets_lie_before_them():
    shards = cut(ExportRecipe(shard_mb=1), some_groups(100, MB // 5))
    assert [shard.first for shard in shards] == [
        sum(shard.pairs for shard in shards[:number]) for number in range(len(shards))
    ]


def test_pairs_of_a_triplet_stay_together():
    groups = list(groups_of("k", "s", 90, ["a", "a", "b"], ["one", "one", "two"]))
    assert [(one.rows, one.bytes) for one in groups] == [((0, 1), 60), ((2,), 30)]
