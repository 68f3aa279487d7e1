"""What a place holds besides good pictures under good names: each is a row, and nothing ends the run."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from factory.doctor.edits import _tried
from factory.edits.codec import looks_like_picture
from factory.edits.items import on_disk
from factory.edits.listing import Wish, item_of, list_images
from factory.edits.quality import written
from factory.errors import StorageRefused
from factory.ledger.collect import collect
from factory.ledger.plan import read_plan
from factory.storage import local
from factory.storage.local import LocalStore
from tests.factory.edits.broken import ABSENT
from tests.factory.edits.pictures import Inverting, config, edited, file, picture
from tests.factory.edits.test_edit import _unprobed, pixels, results

__all__ = ["_unprobed"]
LONG = "字" * 67 + ".jpg"
"""205 bytes, which a disk takes."""


def unreadable(monkeypatch, name):
    """A folder that this user may not read, for a root who may read all."""
    scandir = os.scandir

    def denied(place):
        if not isinstance(place, int) and Path(place).name == name:
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(local.os, "scandir", denied)


def test_names_of_a_folder_are_those_that_are_no_keys_too(tmp_path, monkeypatch):
    for name in (LONG, "a b.png", "a-b", "b/c.png", ".hidden/x.png", "b/.DS_Store", "lost/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "line\nbreak.png").write_bytes(b"1")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"1")
    (tmp_path / "gone.png").symlink_to(tmp_path / "annexed")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "b" / "linked").symlink_to(tmp_path / "b" / "c.png")
    unreadable(monkeypatch, "lost")
    found = list(LocalStore(tmp_path).names())
    assert sorted(found) == sorted(
        [LONG, "a b.png", "a-b", "b/c.png", "b/linked", "lost", "line\nbreak.png", "\\xff.png", "gone.png",
         "circle"]
    )  # fmt: skip
    # In the order of keys, where those of a folder come with its slash.
    assert [name for name in found if name[0] in "ab"] == ["a b.png", "a-b", "b/c.png", "b/linked"]


def test_a_folder_that_may_not_be_read_is_refused_as_a_place(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    unreadable(monkeypatch, "in")
    with pytest.raises(StorageRefused, match="Permission denied"):
        edited(tmp_path / "in", tmp_path / "out")


def test_each_odd_name_of_a_folder_is_a_row_with_its_reason(tmp_path, monkeypatch):
    place = tmp_path / "in"
    (place / "lost+found").mkdir(parents=True)
    odd = {
        LONG: "key must have at most 512 bytes",
        "tab\t.png": "key must have no control characters",
    }
    for name in ("good.png", *odd):
        (place / name).write_bytes(file(picture()))
    (place / os.fsdecode(b"caf\xe9.png")).write_bytes(file(picture()))
    (place / "gone.png").symlink_to(place / "annexed")
    unreadable(monkeypatch, "lost+found")
    run, done = edited(place, tmp_path / "out")
    odd |= {
        "caf\\xe9.png": "no such picture",
        "gone.png": "no such picture",
        # Who may not read it gets "cannot be read: …: Permission denied"; this user may.
        "lost+found": "no such picture",
    }
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": len(odd)}
    reasons = results(run).set_index("image").reason
    assert {name: reasons[name][: len(why)] for name, why in odd.items()} == odd


class Bystander(Inverting):
    """While it edits, somebody else writes to a key of its."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def edit(self, asked):
        (self.place / "a.png").write_bytes(b"theirs")
        yield from super().edit(asked)


@pytest.mark.parametrize("on_existing", ["skip", "fail"])
def test_what_comes_to_a_key_meanwhile_is_treated_as_what_stood_there(tmp_path, on_existing):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        (tmp_path / "in" / name).write_bytes(file(picture(number)))
    by = Bystander(tmp_path / "out")
    run, done = edited(tmp_path / "in", tmp_path / "out", editors=by, on_existing=on_existing)
    verdict = {"skip": "skipped", "fail": "failed"}[on_existing]
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": 0} | {verdict: 1}
    row = results(run).set_index("key").loc["a.png"]
    assert row.standing_sha256 == hashlib.sha256(b"theirs").hexdigest()
    assert (row.verdict, row.reason) == (verdict, "something else stands at its key")
    assert (tmp_path / "out" / "a.png").read_bytes() == b"theirs"


def test_what_killed_workers_left_among_the_pictures_is_collected(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(file(picture()))
    run, _ = edited(tmp_path / "in", tmp_path / "out")
    left = tmp_path / "out" / ".incoming" / "half"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    found = collect(run, read_plan(run), delete=True)
    assert [one.name for _, one in found.uploads] == ["half"]
    assert not left.exists()
    assert (tmp_path / "out" / "a.png").exists()


def test_a_picture_of_which_nothing_shines_through_is_not_laid_over_white(tmp_path):
    (tmp_path / "in").mkdir()
    opaque = picture(2, mode="RGB").convert("RGBA")
    opaque.save(tmp_path / "in" / "opaque.png")
    opaque.putpixel((0, 0), (1, 2, 3, 254))
    opaque.save(tmp_path / "in" / "nearly.png")
    run, _ = edited(tmp_path / "in", tmp_path / "out")
    flattened = results(run).set_index("key").flattened
    assert dict(flattened) == {"opaque.png": False, "nearly.png": True}
    now = pixels((tmp_path / "out" / "opaque.png").read_bytes())
    assert (now == 255 - np.asarray(picture(2, mode="RGB"))).all()


class Copying(Inverting):
    """Gives back what it is shown."""

    def edit(self, asked):
        for place, found in super().edit(asked):
            yield place, type(found)(255 - found.picture, found.reason, found.facts)


def test_photographs_keep_their_colours_their_turn_and_their_quality(tmp_path):
    folder = Path(skimage.data.__file__).parent
    (tmp_path / "in").mkdir()
    coffee = Image.open(folder / "coffee.png").convert("RGB")
    exif = coffee.getexif()
    exif[0x0112] = 6
    coffee.save(tmp_path / "in" / "turned.jpg", exif=exif, quality=71)
    coffee.save(tmp_path / "in" / "plain.png")
    coffee.save(tmp_path / "in" / "web.webp", lossless=True)
    coffee.convert("CMYK").save(tmp_path / "in" / "print.jpg", quality=88)
    edited(tmp_path / "in", tmp_path / "out", editors=Copying())
    shown = {
        name: pixels((tmp_path / "out" / name).read_bytes()) for name in os.listdir(tmp_path / "in")
    }
    whole = np.asarray(coffee)
    assert (shown["plain.png"] == whole).all()
    assert (shown["web.webp"] == whole).all()
    turned = np.rot90(whole, -1).astype(float)
    assert abs(shown["turned.jpg"] - turned).mean() < 5
    assert abs(np.rot90(whole, 1) - turned).mean() > 30
    assert abs(shown["print.jpg"] - whole.astype(float)).mean() < 5
    for name, quality in (("turned.jpg", 71), ("print.jpg", 88)):
        assert written((tmp_path / "out" / name).read_bytes(), "JPEG").quality == quality


def test_words_that_an_editor_does_not_read_are_told(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(file(picture()))
    asked = config(tmp_path / "in")
    list_images(asked.recipe, Wish(instruction="make it red", target_caption="a red one"))
    assert "--target-caption: ip2p does not read it" in capsys.readouterr().err


def test_a_long_listing_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("factory.edits.listing.TELL_EVERY_S", -1.0)
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.png").write_bytes(file(picture()))
    list_images(config(tmp_path / "in").recipe, Wish(instruction="make it red"))
    assert "2 objects are listed so far" in capsys.readouterr().err


def test_the_doctor_looks_for_a_picture_past_what_is_none_by_its_name():
    recipe = config("in").recipe
    keys = [f"annotations/{number:03d}.json" for number in range(30)] + ["images/a", "images/b.JPG"]

    def tried(keys):
        items = on_disk(item_of(recipe, {"image": key, **vars(Wish("x"))}) for key in keys)
        return [one.image for one in _tried(items)]

    assert tried(keys) == ["images/a", "images/b.JPG"]
    assert tried(keys[:30]) == keys[:20]
    assert [looks_like_picture(key) for key in ("a.b/c", "a.tar", "x.WebP")] == [True, False, True]


def test_a_picture_that_a_request_names_and_nobody_has_is_a_row(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(file(picture()))
    (one,) = ABSENT
    lines = [{"image": key, "instruction": "turn"} for key in ("a.png", one.key, "a.png")]
    (tmp_path / "list.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run, done = edited(tmp_path / "in", tmp_path / "out", requests=tmp_path / "list.jsonl")
    # The request that came twice counts once.
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": 1}
    assert results(run).set_index("image").reason[one.key] == one.reason
