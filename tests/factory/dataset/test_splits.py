"""Splits and shards by their names, held against what `datasets` makes of them."""

from fnmatch import fnmatchcase

import pytest
from datasets.data_files import _get_data_files_patterns
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.dataset.files import find_files
from factory.dataset.splits import WORDS, pattern_of, shards_of, splits_of
from factory.errors import InputError

WORD = {word: split for split, words in WORDS.items() for word in words}
SIGNS = ("-", "_", ".", " ", "0", "9", "", "x", "é", "=", "(")


def by_datasets(names):
    """The splits that `datasets` finds in a folder with these files, by our names for them."""

    def resolved(pattern):
        found = [name for name in names if is_matched(name.split("/"), pattern.split("/"))]
        if not found:
            raise FileNotFoundError(pattern)
        return found

    return {WORD.get(split, split) for split in _get_data_files_patterns(resolved)}


def is_matched(parts, patterns):
    """As fsspec's glob: two stars are any number of folders, one stays in its part."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(is_matched(parts[at:], patterns[1:] or ["*"]) for at in range(len(parts)))
    return (
        bool(parts) and fnmatchcase(parts[0], patterns[0]) and is_matched(parts[1:], patterns[1:])
    )


def words():
    return st.sampled_from(
        [*WORD, "data", "a", "latest", "trained", "contest", "evals", "devs", "part"]
    )


@st.composite
def file_names(draw):
    def part():
        signs = st.sampled_from(SIGNS)
        return draw(words()) + draw(signs) + draw(st.sampled_from(["", *WORD, "00000-of-00001"]))

    folders = [part() for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        folders = ["data"]
    return "/".join([*folders, part() + ".parquet"])


@settings(max_examples=200, deadline=None)
@given(file_names())
def test_one_file_is_of_the_splits_that_datasets_finds_in_its_name(name):
    # What names none, `datasets` calls train.
    assert (set(splits_of([name])) or {"train"}) == by_datasets([name])


@settings(max_examples=100, deadline=None)
@given(st.lists(file_names(), min_size=2, max_size=4, unique=True))
def test_of_several_files_no_split_is_missed_that_datasets_finds(names):
    theirs = by_datasets(names)
    assert theirs <= set(splits_of(names)) | {"train"}


TOLD = {
    "folders named by split": ("train/0.parquet", "test/0.parquet"),
    "Hive's folders": ("split=train/0.parquet", "split=test/0.parquet"),
    "Hive's folders of other names": ("split=a/0.parquet", "split=b/0.parquet"),
    "folders that begin as one": ("train_256/0.parquet", "eval_256/0.parquet"),
    "folders below others": ("x/en-train/0.parquet", "x/en-validation/0.parquet"),
    "shards in data": ("data/a-00000-of-00001.parquet", "data/b-00000-of-00001.parquet"),
    "shards anywhere": ("x/train-00000-of-00001.parquet", "x/dev-00000-of-00001.parquet"),
    "a word in the middle": ("my-train-set.parquet", "my-testing-set.parquet"),
    "a word before a number": ("train2017.parquet", "val2017.parquet"),
    "a file beside a folder": ("data/train-00000-of-00001.parquet", "test/0.parquet"),
    "capitals": ("Train.parquet", "TEST.parquet"),
    "train beside others of none": ("train.parquet", "part.parquet", "val.parquet"),
}


@pytest.mark.parametrize("names", TOLD.values(), ids=TOLD)
def test_a_folder_of_several_splits_is_told_and_one_is_chosen_as_the_message_says(tmp_path, names):
    uri = folder_of(tmp_path, names)
    with pytest.raises(InputError, match=r"holds the splits \w+, \w+; reading\.files cho") as told:
        find_files(uri)
    pattern = str(told.value).rpartition("such as ")[2].strip("'")
    (chosen,) = find_files(uri, pattern=pattern).names
    assert chosen == names[0]


def folder_of(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return str(folder)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("test-0.parquet", "test-1.parquet"), ["holds the split test alone, which is trained"]),
        (("val/0.parquet",), ["holds the split validation alone, which is trained"]),
        (("data/extra-00000-of-00001.parquet",), ["holds the split extra alone, which is trained"]),
        (("train.parquet", "part.parquet"), []),
        (("a.parquet", "contest.parquet"), []),
    ],
)
def test_one_split_is_trained_and_said_where_it_is_not_for_training(tmp_path, names, said):
    shelf = find_files(folder_of(tmp_path, names))
    assert shelf.names == sorted(names)
    assert [note.removeprefix(f"{tmp_path}: ") for note in shelf.notes] == said


def test_a_test_split_beside_files_of_no_split_is_told(tmp_path):
    uri = folder_of(tmp_path, ("a.parquet", "b.parquet", "test.parquet"))
    with pytest.raises(
        InputError, match=r"holds the split test beside files of no split \(2\); reading"
    ):
        find_files(uri)


def shard(stem, *numbers, of, rest=""):
    return [f"{stem}-{number:05d}-of-{of:05d}{rest}.parquet" for number in numbers]


WHOLE = {
    "counted from 0": shard("data/train", 0, 1, 2, 3, of=4),
    "counted from 1": shard("train", 1, 2, of=2),
    "with a hash": shard("train", 0, 1, of=2, rest="-0123456789abcdef"),
    "of two things": shard("x", 0, 1, of=2, rest="-a") + shard("x", 0, 1, of=2, rest="-b"),
    "without a name": ["00000-of-00001.parquet"],
}


@pytest.mark.parametrize("names", WHOLE.values(), ids=WHOLE)
def test_a_whole_set_of_shards_is_read(tmp_path, names):
    assert find_files(folder_of(tmp_path, names)).names == sorted(names)


LACKING = {
    "two": (shard("data/train", 0, 1, of=4), r"2 of 4 shards of train, got no 2, 3"),
    "the first": (shard("train", 2, 3, of=4), r"2 of 4 shards of train, got no 0, 1"),
    "one that is counted from 1": (shard("train", 1, 3, of=3), r"2 of 3 shards of train, got no 2"),
    "many": (
        shard("t", 0, of=10**9),
        r"1 of 1000000000 shards of t, got no 1, .*, 8 and 999999991 more",
    ),
    "without a name": (["00001-of-00002.parquet"], r"1 of 2 shards of the dataset, got no 0"),
}


@pytest.mark.parametrize(("names", "said"), LACKING.values(), ids=LACKING)
def test_lacking_shards_are_told_and_what_is_there_may_be_chosen(tmp_path, names, said):
    uri = folder_of(tmp_path, names)
    with pytest.raises(InputError, match=rf": holds {said}; fetch them, or reading\.files"):
        find_files(uri)
    shelf = find_files(uri, pattern="*")
    assert shelf.names == sorted(names)
    (note,) = shelf.notes
    assert note.endswith("; what is there is trained")


STALE = {
    "of another count": (
        shard("data/train", 0, 1, of=2) + shard("data/train", 0, 1, 2, 3, of=4),
        r"2 of 2 and 4 of 4 of train",
    ),
    "of another count, cut": (
        shard("train", 1, of=3) + shard("train", 0, 1, of=2),
        r"2 of 2 and 1 of 3 of train",
    ),
    "of the same count": (
        shard("train", 0, of=1, rest="-0123456789abcdef")
        + shard("train", 0, of=1, rest=f"-{'f' * 16}"),
        r"2 of 1 of train",
    ),
}


@pytest.mark.parametrize(("names", "said"), STALE.values(), ids=STALE)
@pytest.mark.parametrize("pattern", [None, "*train*"])
def test_shards_of_an_older_write_are_never_trained_beside_the_newer(
    tmp_path, names, said, pattern
):
    uri = folder_of(tmp_path, names)
    with pytest.raises(
        InputError, match=rf": must hold the shards of one write, got {said}; remove"
    ):
        find_files(uri, pattern=pattern)


def test_of_two_writes_one_may_be_chosen_and_a_part_of_a_whole_one_without_a_word(tmp_path):
    names = shard("train", 0, 1, of=2) + shard("train", 0, 1, 2, of=3)
    shelf = find_files(folder_of(tmp_path, names), pattern="*-of-00003*")
    assert (len(shelf.names), shelf.notes) == (3, [])
    part = find_files(str(tmp_path), pattern="train-00001-of-00003.parquet")
    assert (len(part.names), part.notes) == (1, [])


def test_shards_beside_one_another_are_of_several_sets():
    assert [[str(s) for s in sets] for sets in shards_of(["a-0-of-2", "a-1-of-3", "b-0-of-1"])] == [
        ["1 of 2", "1 of 3"],
        ["1 of 1"],
    ]
    assert pattern_of(["x"], ["x", "y"], "train") is None
