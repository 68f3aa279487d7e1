"""Which splits and which shards the names of a dataset's files tell of.

A name tells its split as `datasets` would read it (`data_files.py` there; its rules, not its code): the
part before a shard's number in `data/`, else a word in a folder's name, else one in the file's. Besides,
capitals count for nothing, and `split=` is Hive's. All files of a folder are looked at, so that what
`datasets` would leave out of a split is not trained unasked.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice

MOST_NAMED = 8
"""Shards in a message."""
TRAIN = "train"
WORDS = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT = {word: split for split, words in WORDS.items() for word in words}
_WORD = re.compile(rf"(?:^|(?<=[-._ 0-9/]))({'|'.join(_SPLIT)})(?=[-._ 0-9/]|$)")
_NAMED = re.compile(r"(?:.*/)?split=([^/]+)/.*")
_IN_DATA = re.compile(r"data/([^/]+)-\d{5}-of-\d{5}[^/]*")
_SHARD = re.compile(r"(.*?)[-_. ]?(\d+)[-_ ]of[-_ ](\d+)(?!\d)(?:-[0-9a-f]{16})?([^/]*)")
"""`datasets` put 16 digits of a hash after the count, others for each write."""


def splits_of(names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each split that names tell; a file may be of several, or of none."""
    found: dict[str, list[str]] = defaultdict(list)
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for split in _splits(name.lower()):
            found[split].append(name)
        if named := _NAMED.fullmatch(name):
            folders[named[1]].append(name)
    if len(folders) > 1:
        # Of any name, where there are several.
        for split, files in folders.items():
            found[_SPLIT.get(split.lower(), split)] = files
    return dict(found)


def _splits(name: str) -> set[str]:
    if in_data := _IN_DATA.fullmatch(name):
        return {_SPLIT.get(in_data[1], in_data[1])}
    if (named := _NAMED.fullmatch(name)) and named[1] in _SPLIT:
        return {_SPLIT[named[1]]}
    folder, _, file = name.rpartition("/")
    return {_SPLIT[word] for word in _WORD.findall(folder) or _WORD.findall(file)}


@dataclass(frozen=True)
class Shards:
    """Files of one name that count themselves, `train-00000-of-00004` and so on."""

    stem: str
    """What stands before the number; empty where nothing does."""
    of: int
    """How many there should be."""
    numbers: tuple[int, ...]
    """Those that are there, in order; one may be there twice."""

    @property
    def is_whole(self) -> bool:
        return len(self.numbers) == self.of and self.numbers == tuple(self._wanted)

    @property
    def _wanted(self) -> range:
        """Counted from 0 or from 1."""
        first = 1 if self.of in self.numbers and 0 not in self.numbers else 0
        return range(first, first + self.of)

    @property
    def called(self) -> str:
        """For a message."""
        return self.stem.rpartition("/")[2].rstrip("-_. ") or "the dataset"

    def missing(self) -> str:
        """The first few numbers that are not there; past the end where more are there than counted."""
        lacking = (number for number in self._wanted if number not in self.numbers)
        named = list(islice(lacking, MOST_NAMED))
        more = self.of - len(self.numbers) - len(named)
        return ", ".join(map(str, named)) + (f" and {more} more" if more > 0 else "")

    def __str__(self) -> str:
        return f"{len(self.numbers)} of {self.of}"


def shards_of(names: Iterable[str]) -> list[list[Shards]]:
    """For each name before the number all that stand beside one another: several are of several writes."""
    found: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        if shard := _SHARD.fullmatch(name):
            found[shard[1], shard[4]][int(shard[3])].append(int(shard[2]))
    return [
        [Shards(stem, of, tuple(sorted(numbers))) for of, numbers in sorted(sets.items())]
        for (stem, _), sets in sorted(found.items())
    ]


def pattern_of(files: Sequence[str], names: Sequence[str], split: str) -> str | None:
    """A pattern of `reading.files` that chooses just these files of all, if a plain one does."""
    spelled = [split]
    if files and (word := re.search("|".join(WORDS.get(split, (split,))), files[0], re.IGNORECASE)):
        spelled.insert(0, word[0])
    for word_of in spelled:
        for pattern in (f"{word_of}*", f"*/{word_of}*", f"*={word_of}/*", f"*{word_of}*"):
            if [name for name in names if fnmatch(name, pattern)] == list(files):
                return pattern
    return None
