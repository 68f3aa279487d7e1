"""Prompt-to-Prompt's edits of cross-attention as a recipe's option of `generate`, on the miniature."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from editmill import app
from factory.ledger.manifest import sealed_data_uris
from factory.ledger.run import open_run
from factory.storage.open import open_store

LINES = [
    {"input": "a large red star on a white background",
     "edit": "make it blue",
     "output": "a large blue star on a white background"},
    {"input": "a large red star on a white background",
     "edit": "put it in fog",
     "output": "a large red star on a white background, in fog"},
]  # fmt: skip
OPEN = "recipe.thresholds={image: -1, text: -1, direction: -1, borderline: 0}"
FEW = (
    "recipe.steps=4",
    "recipe.candidates=1",
    "recipe.p=[0.5, 0.5]",
    "recipe.unit_triplets=2",
    OPEN,
)
HERE = ("compute.where=here", "compute.threads=1")


@pytest.fixture
def triplets(tmp_path):
    file = tmp_path / "list.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return file


def generate(triplets, out, *settings):
    words = ["generate", "--preset", "miniature", "--triplets", str(triplets), "--out", str(out)]
    sets = [word for one in (*FEW, *HERE, *settings) for word in ("--set", one)]
    with pytest.raises(SystemExit) as ended:
        app([*words, *sets])
    return ended.value.code


def decoded(stored):
    """Its pixels (height, width, 3), as whole numbers with a sign."""
    return np.asarray(Image.open(io.BytesIO(stored["bytes"]))).astype(int)


def pairs(out):
    """By the new caption the pixels of both pictures."""
    tables = map(pd.read_parquet, sealed_data_uris(open_run(open_store(str(out)))))
    return {
        row.edited_prompt: (decoded(row.original_image), decoded(row.edited_image))
        for row in pd.concat(tables).itertuples()
    }


@pytest.mark.long
def test_a_recipe_edits_word_maps_and_leaves_the_original_as_it_was(triplets, tmp_path):
    maps = {
        "plain": "null",
        "maps": "{}",
        "blend": "{blend: true, blend_scale: 2, blend_threshold: 0.6}",
        "weighed": "{weights: {blue: 4, fog: 4}}",
    }
    for name, cross in maps.items():
        assert generate(triplets, tmp_path / name, f"recipe.cross={cross}") == 0
    found = {name: pairs(tmp_path / name) for name in maps}
    for line in LINES:
        of_each = [found[name][line["output"]] for name in maps]
        originals, edits = zip(*of_each, strict=True)
        # To a level of 255: another number of rows changes the last bits.
        assert all(np.abs(one - originals[0]).max() <= 1 for one in originals)
        plain, taken, blend, weighed = edits
        assert differ(taken, plain)
        assert differ(weighed, taken)
        # Fog is everywhere: to keep what is away from it keeps nothing.
        assert (blend != taken).any() or "fog" in line["output"]


def differ(one, other):
    return np.abs(one - other).max() > 8


def test_a_scale_that_no_layer_attends_at_is_refused_before_anything_is_begun(
    triplets, tmp_path, capsys
):
    assert generate(triplets, tmp_path / "out", "recipe.cross={blend: true, blend_scale: 4}") == 2
    assert (
        "recipe.cross.blend_scale: must be among the network's 1, 2, got 4"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
