"""Triplets that say nearly the same: of each group only the earliest stays.

MinHash with locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3), by `datasketch`.
"""

from collections.abc import Iterable, Iterator, Sequence

from factory.prompt_text import told_text

PERMUTATIONS = 128
"""Of the sketches: a similarity is known to some 0.04."""


def near_duplicates(
    texts: Iterable[Sequence[str]], least: float
) -> Iterator[tuple[int, int, float]]:
    """The place of each text that nearly repeats an earlier one which stays, that one's place, and their
    similarity as sketched, 0..1.

    A text is several strings; two are near where the Jaccard similarity of their words, each told apart by
    the string that it stands in, is at least `least`. Depends on the texts and their order alone.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=least, num_perm=PERMUTATIONS)
    kept: dict[int, MinHash] = {}
    for place, text in enumerate(texts):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch(sorted(_words(text)))
        near = sorted(
            other for other in index.query(sketch) if kept[other].jaccard(sketch) >= least
        )
        if near:
            yield place, near[0], float(kept[near[0]].jaccard(sketch))
            continue
        index.insert(place, sketch, check_duplication=False)
        kept[place] = sketch


def _words(text: Sequence[str]) -> set[bytes]:
    return {
        f"{part}:{word}".encode()
        for part, string in enumerate(text)
        for word in told_text(string).split()
    }
