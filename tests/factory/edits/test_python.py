"""Edits from Python, as the README shows them."""

import io
import re
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.edits import python
from factory.edits.edit import Edited
from factory.edits.python import KeptStudios, edit
from factory.errors import ConfigError
from factory.untrusted_image.decoder import ImageDecoder
from schemas.editors import P2p
from tests.factory.edits.pictures import SDEDIT, config, file, picture
from tests.security import profiles

README = Path(__file__).parents[3] / "README.md"
P2P = P2p(model={"source": "miniature"}, steps=2)
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


class Copying:
    """In place of a studio: gives back what it was given."""

    def __init__(self, editor="ip2p"):
        self.recipe = config("here", editor=editor, sdedit=SDEDIT, p2p=P2P).recipe
        self.asked = []

    def edit(self, asked):
        self.asked += [item for item, _ in asked]
        for place, (_, pixels) in enumerate(asked):
            yield place, Edited(pixels, None, {})


def test_a_picture_is_opened_as_the_command_opens_it(monkeypatch):
    monkeypatch.setattr(python, "_STUDIOS", KeptStudios(lambda *_: Copying()))
    turned = picture(3, (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    files = [
        file(turned, "JPEG", exif=exif, quality=100),
        file(Image.new("RGBA", (8, 8), (10, 20, 30, 0))),
        file(picture(4), icc_profile=profiles.wide_gamut()),
    ]
    found = edit([Image.open(io.BytesIO(one)) for one in files], ["turn"] * 3)
    with closing(ImageDecoder()) as decoder:
        for data, one in zip(files, found, strict=True):
            assert (np.asarray(one) == decoder.open(data).picture).all()
    assert found[0].size == (20, 40)
    assert (np.asarray(found[1]) == 255).all()
    assert (np.asarray(found[2]) != np.asarray(picture(4))).any()


def test_an_editor_that_needs_what_a_picture_shows_is_told_it(monkeypatch):
    studio = Copying("p2p")
    monkeypatch.setattr(python, "_STUDIOS", KeptStudios(lambda *_: studio))
    with pytest.raises(ConfigError, match="picture 0: p2p needs source_caption, got none"):
        edit(scenes(), ["a red star"] * 2)
    edit(scenes(), ["a red star"] * 2, captions=["a star", "a dot"])
    assert [one.source_caption for one in studio.asked] == ["a star", "a dot"]
    with pytest.raises(ValueError, match="captions: must be one for each picture, got 1 for 2"):
        edit(scenes(), ["a red star"] * 2, captions=["a star"])


class Closing:
    """In place of a studio: says when it is let go of."""

    def __init__(self, closed, name):
        self._closed, self._name = closed, name

    def close(self):
        self._closed.append(self._name)


def test_models_of_settings_that_nobody_asks_for_any_more_are_let_go_of():
    closed, made = [], []

    def make(_, settings):
        made.append(*settings)
        return Closing(closed, *settings)

    studios = KeptStudios(make, most=2)
    with studios.of("p", ("a",)):
        for name in ("b", "c", "a", "d"):
            with studios.of("p", (name,)):
                pass
        # Of the one that is still worked with nothing is let go.
        assert closed == ["b", "c"]
    with studios.of("p", ("d",)):
        pass
    assert (made, closed) == (["a", "b", "c", "d"], ["b", "c"])
    with studios.of("p", ("e",)):
        pass
    assert closed == ["b", "c", "a"]


def test_the_threads_of_models_that_were_let_go_of_end(monkeypatch):
    monkeypatch.setattr(python, "_STUDIOS", KeptStudios(python._studio, most=1))
    before = set(threading.enumerate())
    for steps in (1, 2):
        edit(scenes()[:1], ["make it green"], settings=[f"recipe.ip2p.steps={steps}"])
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert left.count("editmill-engine") == 1, left


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
