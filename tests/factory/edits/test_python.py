"""Edits from Python, as the README shows them."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.edits.python import edit

README = Path(__file__).parents[3] / "README.md"
FAST = ["recipe.ip2p.steps=2", "recipe.sdedit.steps=4"]


def scenes():
    return [
        Image.new("RGB", size, colour) for size, colour in (((64, 64), "red"), ((90, 60), "blue"))
    ]


def test_each_picture_comes_back_at_its_size_and_the_same_each_time():
    edited = edit(scenes(), ["make it green", "make it white"], settings=FAST)
    assert [one.size for one in edited] == [(64, 64), (90, 60)]
    (again,) = edit(scenes()[:1], ["make it green"], settings=FAST)
    assert (np.asarray(again) == np.asarray(edited[0])).all()
    (other,) = edit(scenes()[:1], ["make it green"], settings=FAST, seed=1)
    assert (np.asarray(other) != np.asarray(again)).any()


def test_sdedit_takes_captions():
    (edited,) = edit(scenes()[:1], ["a small red star"], settings=[*FAST, "recipe.editor=sdedit"])
    assert edited.size == (64, 64)


def test_a_picture_needs_an_instruction():
    with pytest.raises(ValueError, match="one for each picture, got 1 for 2"):
        edit(scenes(), ["make it green"])


@pytest.mark.long
def test_the_readme_edits_a_picture(tmp_path, monkeypatch):
    (lines,) = [
        lines
        for lines in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if "factory.edits.python" in lines
    ]
    monkeypatch.chdir(tmp_path)
    scenes()[0].save("scene.png")
    exec(lines, {})
    assert Image.open("edited.png").size == (64, 64)
