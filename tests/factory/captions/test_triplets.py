"""What a run of captions ends with: near-duplicates found as `datasketch` finds them, nothing held."""

import random
import tracemalloc
from types import SimpleNamespace

import pytest
from datasketch import MinHash, MinHashLSH

from factory.captions import triplets as finish
from factory.captions.near_duplicates import PERMUTATIONS, _words, near_duplicates
from schemas.arrow import read_rows
from schemas.captions import CaptionRecipe


def texts(count, seed=0, words=400):
    """Captions of ten words; a third of them repeat an earlier one but for a word or two."""
    draws = random.Random(seed)
    made = []
    for number in range(count):
        if made and draws.random() < 0.3:
            caption = list(draws.choice(made))
            for _ in range(draws.randint(0, 2)):
                caption[draws.randrange(10)] = f"w{draws.randrange(words)}"
        else:
            caption = [f"w{draws.randrange(words)}" for _ in range(10)]
        made.append(caption)
        yield str(number), (" ".join(caption), "make it green", " ".join([*caption, "green"]))


@pytest.mark.parametrize("least", [0.6, 0.8, 1.0])
def test_what_is_found_is_what_datasketch_finds(least):
    index, sketches, expected = (
        MinHashLSH(threshold=min(least, 0.97), num_perm=PERMUTATIONS),
        {},
        [],
    )
    for name, text in texts(300):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch(sorted(_words(text)))
        near = [(int(one), sketches[one].jaccard(sketch)) for one in index.query(sketch)]
        near = sorted(one for one in near if one[1] >= least)
        expected.append((str(near[0][0]), near[0][1]) if near else None)
        if not near:
            index.insert(name, sketch)
            sketches[name] = sketch
    assert list(near_duplicates(texts(300), least)) == expected
    assert 20 < sum(one is not None for one in expected) < 200


@pytest.mark.long
def test_memory_does_not_grow_with_the_run():
    def peak(count):
        given = list(texts(count))
        tracemalloc.start()
        for _ in near_duplicates(given, 0.9):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)
    few, many = peak(300), peak(1200)
    # Sketches alone of the 900 more would be half a MiB.
    assert many - few < 150_000


def commits(count, taken):
    for number, (_, (before, edit, after)) in enumerate(texts(count)):
        taken.append(number)
        row = {"caption_id": f"{number:016x}", "index": 0, "verdict": "accepted"}
        told = {"original_prompt": before, "edit_prompt": edit, "edited_prompt": after}
        yield SimpleNamespace(rows=[row | told | {"url": None, "kind": "colour"}])


def test_files_are_made_while_the_run_is_read(monkeypatch):
    monkeypatch.setattr(finish, "TRIPLET_ROWS", 10)
    run = SimpleNamespace(recipe=CaptionRecipe(model="m", near_duplicates=0.7))
    taken, kept, left_out = [], 0, []
    for name, data in finish.triplets(run, commits(100, taken)):
        if name.startswith("triplets_"):
            kept += len(read_rows(finish.columns_of(finish.Triplet), data)[0])
            # No more than what fills this file and one of the other kind, and what is in between.
            assert len(taken) <= kept + len(left_out) + 10
        else:
            left_out += read_rows(finish._LEFT_OUT, data)[0]
    assert kept + len(left_out) == len(taken) == 100
    assert left_out
    assert all(int(row["like_caption_id"], 16) < int(row["caption_id"], 16) for row in left_out)


def test_of_a_recipe_without_them_every_triplet_stays(monkeypatch):
    monkeypatch.setattr(finish, "TRIPLET_ROWS", 40)
    run = SimpleNamespace(recipe=CaptionRecipe(model="m", near_duplicates=None))
    names = [name for name, _ in finish.triplets(run, commits(100, []))]
    assert names == [f"triplets_{number:06d}.parquet" for number in range(3)]
