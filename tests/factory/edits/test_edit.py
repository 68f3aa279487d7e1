"""`edit` from a place of pictures to a place of edits, with a stand-in for the editors."""

import hashlib
import io
import json
import re
from contextlib import closing
from dataclasses import replace
from functools import partial

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from factory.edits import edit as edit_module
from factory.edits import opening
from factory.edits.edit import edit_stage
from factory.edits.listing import bad_key
from factory.edits.opening import MOST_BYTES, Opened, Opener
from factory.edits.prepare import check_places
from factory.errors import InputError, ListError, RunMismatch, StorageRefused
from factory.ledger.manifest import sealed_object_uris
from factory.ledger.units.reopen import repair
from factory.ledger.verify.run import verify
from factory.storage.key_rules import USERS
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.probe import StoreProbe
from factory.untrusted_image.decoder import ImageLimits
from factory.work import job
from factory.work.plain_loop import run_here
from tests.factory.edits.broken import BROKEN, LOST
from tests.factory.edits.pictures import HERE, SDEDIT, Inverting, edited, file, maker, picture
from tests.factory.storage.conftest import moto, moto_bucket

__all__ = ["moto", "moto_bucket"]
ODD_KEYS = ["a b.png", "sub/c+d%.png", "é/ü &=?.png", "UPPER.PNG", "'quoted'.png", "日本.png"]


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    return str(tmp_path) if request.param == "folder" else request.getfixturevalue("moto_bucket")


@pytest.fixture(autouse=True)
def _unprobed(monkeypatch):
    """Whether a store is strong is tried elsewhere, for seconds."""
    found = StoreProbe(commits="conditional", reason="", rounds=0, seconds=0.0)
    monkeypatch.setattr(job, "probe", lambda store: found)


def put(root, files):
    store = open_store(str(root), USERS)
    for key, data in files.items():
        store.put(key, data)
    return store


def results(run):
    """What became of each picture, as pandas reads it."""
    tables = [
        io.BytesIO(run.store.get(uri.removeprefix(f"{run.uri}/")))
        for uri in sealed_object_uris(run)
    ]
    return pd.concat([pd.read_parquet(table) for table in tables])


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_every_picture_comes_to_its_own_key_under_any_name(place):
    files = {key: file(picture(n)) for n, key in enumerate(ODD_KEYS)}
    put(f"{place}/my pictures", files)
    run, done = edited(f"{place}/my pictures", f"{place}/edits")
    assert done.exit_code == 0
    assert done.sealed.counts == {"done": len(ODD_KEYS), "skipped": 0, "failed": 0}
    out = open_store(f"{place}/edits", USERS)
    for key, data in files.items():
        assert (pixels(out.get(key)) == 255 - pixels(data)).all()
    found = results(run)
    assert set(found.key) == set(ODD_KEYS)
    assert all(
        hashlib.sha256(out.get(row.key)).hexdigest() == row.sha256 for row in found.itertuples()
    )
    assert all(
        hashlib.sha256(files[row.image]).hexdigest() == row.image_sha256
        for row in found.itertuples()
    )
    assert not verify(run).damages


def test_what_is_no_picture_is_a_row_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setitem(HERE, "most_pixels", 8_000_000)
    put(
        tmp_path / "in",
        {"good.jpg": file(picture(), "JPEG"), **{one.key: one.data for one in BROKEN}},
    )
    run, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": len(BROKEN)}
    reasons = results(run).set_index("image").reason
    for one in BROKEN:
        assert one.reason in reasons[one.key], one.what
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "good.jpg",
        "_editmill",
        ".incoming",
    }


def test_a_file_has_as_many_bytes_as_is_said(monkeypatch, tmp_path):
    """Of noise, so that it is no smaller than its pixels: more than a dataset's picture may have."""
    large = file(picture(5, (3600, 3200)), compress_level=0)
    assert ImageLimits().most_bytes < len(large) < MOST_BYTES
    put(tmp_path / "in", {"large.png": large})
    with closing(Opener(LocalStore(str(tmp_path / "in"), USERS))) as opener:
        assert isinstance(opener.open("large.png"), Opened)
        monkeypatch.setattr(opening, "MOST_BYTES", len(large) - 1)
        assert (
            opener.open("large.png").reason == f"must have at most {len(large) - 1} bytes, got more"
        )


def test_a_run_that_kept_nothing_says_the_first_reason(tmp_path):
    put(tmp_path / "in", {"a.png": b"hello", "b.png": b""})
    _, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.exit_code == 4
    assert re.fullmatch(
        r"sealed without one edit: of 2 pictures 2 could not be made, first picture a\.png: must begin as "
        r"a JPEG, PNG or WEBP, got .*; the results say why of each",
        done.message,
    )


def test_a_run_that_found_all_its_keys_taken_says_so(tmp_path):
    for place in ("in", "out"):
        put(tmp_path / place, {"a.png": file(picture())})
    _, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.message.startswith("sealed without one edit: of 1 pictures 1 were skipped, by ")


def test_keys_that_lead_elsewhere_are_rows_too(moto_bucket):
    import boto3

    bucket, _, prefix = moto_bucket.removeprefix("s3://").partition("/")
    odd = [one.key for one in LOST]
    client = boto3.client("s3")
    for key in [*odd, "good.png", "folder/"]:
        client.put_object(Bucket=bucket, Key=f"{prefix}/in/{key}", Body=file(picture()))
    run, done = edited(f"{moto_bucket}/in", f"{moto_bucket}/out")
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": len(odd)}
    found = results(run)
    assert set(found.image) == {*odd, "good.png"}
    reasons = found.set_index("image").reason
    assert {key: reasons[key] for key in odd} == {one.key: one.reason for one in LOST}
    assert {info.key for info in open_store(f"{moto_bucket}/out", USERS).list()} >= {"good.png"}


def test_edits_are_edited_again_without_the_records_of_their_run(place, capsys):
    put(f"{place}/in", {"a.png": file(picture()), "b/c.png": file(picture(1))})
    edited(f"{place}/in", f"{place}/out")
    run, done = edited(f"{place}/out", f"{place}/again")
    assert done.sealed.counts == {"done": 2, "skipped": 0, "failed": 0}
    assert set(results(run).image) == {"a.png", "b/c.png"}
    assert "/out: _editmill/ is passed over, the records of the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key", ["../a", "a/../../b", "a/./b", "/a", "a/", "", "_editmill/a", "a" * 201]
)
def test_no_edit_leaves_its_place(key):
    assert bad_key(key)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_keeps_its_format_and_stands_upright(format, tmp_path):
    turned = picture(3, (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    put(tmp_path / "in", {"a.x": file(turned, format, exif=exif)})
    run, _ = edited(tmp_path / "in", tmp_path / "out")
    found = Image.open(tmp_path / "out" / "a.x")
    assert (found.format, found.size) == (format, (20, 40))
    assert not found.getexif()
    (row,) = results(run).to_dict("records")
    assert (row["image_width"], row["image_height"]) == (20, 40)


def test_what_is_transparent_is_laid_over_white_and_noted(tmp_path):
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    put(tmp_path / "in", {"a.png": file(clear), "b.png": file(picture())})
    run, _ = edited(tmp_path / "in", tmp_path / "out")
    assert (pixels((tmp_path / "out" / "a.png").read_bytes()) == 0).all()
    assert list(results(run).flattened) == [True, False]


def test_a_key_that_is_taken_is_left_alone(tmp_path):
    place = str(tmp_path)
    put(f"{place}/in", {"a.png": file(picture()), "b.png": file(picture(1))})
    put(f"{place}/out", {"a.png": b"mine"})
    run, done = edited(f"{place}/in", f"{place}/out")
    assert done.sealed.counts == {"done": 1, "skipped": 1, "failed": 0}
    assert open_store(f"{place}/out", USERS).get("a.png") == b"mine"
    row = results(run).set_index("key").loc["a.png"]
    assert row.standing_sha256 == hashlib.sha256(b"mine").hexdigest()
    put(f"{place}/out3", {"a.png": b"mine"})
    _, failing = edited(f"{place}/in", f"{place}/out3", on_existing="fail")
    assert failing.sealed.counts == {"done": 1, "skipped": 0, "failed": 1}


@pytest.mark.parametrize(("format", "side"), [("webp", 16_384), ("jpeg", 65_536)])
def test_an_edit_that_its_format_has_no_room_for_is_a_row(format, side, tmp_path):
    put(tmp_path / "in", {"a.png": file(picture()), "long.png": file(picture(1, (side, 1)))})
    run, done = edited(tmp_path / "in", tmp_path / "out", output={"format": format})
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": 1}
    row = results(run).set_index("image").loc["long.png"]
    assert row.reason.startswith(f"edit must fit a file of {format.upper()}, got {side}x1: ")
    assert {path.name for path in (tmp_path / "out").glob("[!.]*.*")} == {f"a.{ENDING[format]}"}


ENDING = {"webp": "webp", "jpeg": "jpg"}


def test_what_a_twin_leaves_while_a_unit_begins_is_ours(tmp_path, monkeypatch):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": file(picture(1))})
    put(tmp_path / "out", {"b.png": b"mine"})
    hash_at = edit_module.hash_at

    def after_a_twin(run, key, ours):
        monkeypatch.setattr(edit_module, "hash_at", hash_at)
        # As for another picture of the unit, so that what the twin leaves is not yet known.
        assert (key, "") not in ours
        with monkeypatch.context() as until:
            until.setattr("factory.ledger.units.commits.CommitRecord", dies)
            with pytest.raises(Killed):
                edited(tmp_path / "in", tmp_path / "out", editors=Darkening())
        return hash_at(run, key, ours)

    def dies(**fields):
        raise Killed

    monkeypatch.setattr(edit_module, "hash_at", after_a_twin)
    run, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.sealed.counts == {"done": 1, "skipped": 1, "failed": 0}
    assert (tmp_path / "out" / "b.png").read_bytes() == b"mine"
    assert not verify(run).damages


def test_where_all_keys_are_free_no_attempt_is_looked_for(tmp_path, monkeypatch):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": file(picture(1))})
    asked = []
    monkeypatch.setattr("factory.ledger.named.intents", lambda run, unit: asked.append(unit) or ())
    edited(tmp_path / "in", tmp_path / "out")
    assert not asked
    put(tmp_path / "out2", {"a.png": b"mine"})
    edited(tmp_path / "in", tmp_path / "out2")
    assert asked


class Archived(LocalStore):
    """One object is in an archive."""

    def get_part(self, key, first, count):
        if key == "a.png":
            raise StorageRefused(f"{key}: is archived")
        return super().get_part(key, first, count)

    def around(self, name):
        return Archived(self.uri.removesuffix(f"/{name}"), USERS)


def test_records_that_cannot_be_listed_end_the_start_and_fail_no_picture(tmp_path, monkeypatch):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": file(picture(1))})
    put(tmp_path / "out", {"a.png": b"mine", "b.png": b"mine"})
    list_all, asked = LocalStore.list, []

    def unlisted(store, prefix=""):
        if prefix.startswith("data/"):
            asked.append(prefix)
            raise StorageRefused(f"{prefix}: out of order")
        return list_all(store, prefix)

    with monkeypatch.context() as until:
        until.setattr(LocalStore, "list", unlisted)
        with pytest.raises(StorageRefused, match="out of order"):
            edited(tmp_path / "in", tmp_path / "out")
    # For two pictures at once.
    assert len(asked) == 1
    _, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.sealed.counts == {"done": 0, "skipped": 2, "failed": 0}


def test_what_stands_at_a_key_and_cannot_be_read_is_a_row(tmp_path, monkeypatch):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": file(picture(1))})
    monkeypatch.setattr(LocalStore, "around", Archived.around)
    run, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": 1}
    row = results(run).set_index("image").loc["a.png"]
    assert row.reason == "what stands at its key cannot be read: StorageRefused: a.png: is archived"


@pytest.mark.parametrize("first", ["a", "a/b.png"])
def test_on_a_disk_one_key_is_no_folder_of_another(first, moto_bucket, tmp_path):
    """In a bucket both may stand."""
    put(f"{moto_bucket}/in", {"a": file(picture()), "a/b.png": file(picture(1))})
    put(f"{moto_bucket}/in", {"c.png": file(picture(2))})
    lines = sorted(("a", "a/b.png"), key=lambda key: key != first)
    (tmp_path / "list.jsonl").write_text(
        "".join(json.dumps({"image": key, "edit": "turn"}) + "\n" for key in [*lines, "c.png"])
    )
    listed = {"requests": tmp_path / "list.jsonl", "unit_images": 1}
    run, done = edited(f"{moto_bucket}/in", tmp_path / "out", **listed)
    assert done.sealed.counts == {"done": 2, "skipped": 0, "failed": 1}
    (row,) = results(run)[lambda found: found.verdict == "failed"].itertuples()
    assert (row.image, row.reason) == (lines[1], "something else stands at its key")
    assert not verify(run).damages
    both, done = edited(f"{moto_bucket}/in", f"{moto_bucket}/out", **listed)
    assert done.sealed.counts == {"done": 3, "skipped": 0, "failed": 0}


class Killed(BaseException):
    pass


def test_killed_between_its_objects_and_its_commit_it_adopts_what_it_left(place, monkeypatch):
    put(f"{place}/in", {"a.png": file(picture()), "b.png": file(picture(1))})

    def dies(**fields):
        raise Killed

    with monkeypatch.context() as until:
        until.setattr("factory.ledger.units.commits.CommitRecord", dies)
        with pytest.raises(Killed):
            edited(f"{place}/in", f"{place}/out")
    out = open_store(f"{place}/out", USERS)
    before = {key: out.find(key).modified for key in ("a.png", "b.png")}
    run, done = edited(f"{place}/in", f"{place}/out")
    assert done.sealed.counts == {"done": 2, "skipped": 0, "failed": 0}
    assert {key: out.find(key).modified for key in before} == before
    assert not verify(run).damages


class Darkening(Inverting):
    """As another machine makes them: files of other bytes and sizes."""

    def edit(self, asked):
        for place, one in super().edit(asked):
            yield place, replace(one, picture=one.picture // 64)


def test_of_what_another_attempt_left_a_row_tells_its_own_size(tmp_path, monkeypatch):
    put(tmp_path / "in", {"a.png": file(picture())})

    def dies(**fields):
        raise Killed

    with monkeypatch.context() as until:
        until.setattr("factory.ledger.units.commits.CommitRecord", dies)
        with pytest.raises(Killed):
            edited(tmp_path / "in", tmp_path / "out", editors=Darkening())
    run, _ = edited(tmp_path / "in", tmp_path / "out")
    (row,) = results(run).itertuples()
    data = (tmp_path / "out" / "a.png").read_bytes()
    assert (row.sha256, row.bytes) == (hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_a_unit_whose_intent_is_gone_is_made_again_over_its_own_edits(harm, tmp_path):
    put(tmp_path / "in", {f"{n}.png": file(picture(n)) for n in range(3)})
    run, first = edited(tmp_path / "in", tmp_path / "out")
    (intent,) = (tmp_path / "out" / "_editmill" / "data").glob("00000000-*")
    intent.unlink() if harm == "lost" else intent.write_bytes(b"rot")
    found = verify(run)
    assert set(found.broken) == {0}
    assert repair(run, found) == (0,)
    run, again = edited(tmp_path / "in", tmp_path / "out", editors=Darkening())
    assert again.sealed.counts == first.sealed.counts == {"done": 3, "skipped": 0, "failed": 0}
    assert not verify(run).damages


class Spoiling(LocalStore):
    """Its first reply of each picture comes back cut."""

    spoilt: set[str] = set()

    def get_part(self, key, first, count):
        data = super().get_part(key, first, count)
        if key in self.spoilt:
            return data
        self.spoilt.add(key)
        return data[:200]


def test_a_picture_that_came_back_spoilt_is_read_again(tmp_path, monkeypatch):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": b"no picture"})
    monkeypatch.setattr(edit_module, "open_images", lambda uri: Spoiling(uri, USERS))
    _, done = edited(tmp_path / "in", tmp_path / "out")
    assert done.sealed.counts == {"done": 1, "skipped": 0, "failed": 1}


def test_retry_takes_failed_rows_alone(tmp_path):
    put(tmp_path / "in", {f"{n}.png": file(picture(n)) for n in range(4)})
    (tmp_path / "in" / "1.png").write_bytes(b"not yet")
    first = Inverting()
    _, done = edited(tmp_path / "in", tmp_path / "out", editors=first)
    assert done.sealed.counts == {"done": 3, "skipped": 0, "failed": 1}
    (tmp_path / "in" / "1.png").write_bytes(file(picture(1)))
    second = Inverting()
    run, done = edited(tmp_path / "in", tmp_path / "out", editors=second, retry_failed=True)
    assert second.asked == ["1.png"]
    assert done.sealed.counts == {"done": 4, "skipped": 0, "failed": 0}
    assert list(results(run).verdict) == ["done"] * 4
    assert not verify(run).damages


def test_a_longer_list_is_appended_on_demand(tmp_path):
    put(tmp_path / "in", {"b.png": file(picture())})
    edited(tmp_path / "in", tmp_path / "out")
    put(tmp_path / "in", {"a.png": file(picture(1))})
    with pytest.raises(RunMismatch, match="adds 1; --extend appends them"):
        edited(tmp_path / "in", tmp_path / "out")
    _, done = edited(tmp_path / "in", tmp_path / "out", extend=True)
    assert done.sealed.counts["done"] == 2


def test_a_bucket_that_lost_pictures_is_listed_again(tmp_path):
    put(tmp_path / "in", {f"{name}.png": file(picture()) for name in "bdf"})
    edited(tmp_path / "in", tmp_path / "out")
    put(tmp_path / "in", {f"{name}.png": file(picture(1)) for name in "ace"})
    (tmp_path / "in" / "d.png").unlink()
    run, done = edited(tmp_path / "in", tmp_path / "out", extend=True)
    assert done.sealed.counts == {"done": 6, "skipped": 0, "failed": 0}
    assert list(results(run).key) == [f"{name}.png" for name in "bdface"]


def test_results_come_in_files_of_bounded_size_that_datasets_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(edit_module, "RESULT_ROWS", 3)
    put(tmp_path / "in", {f"{n}.png": file(picture(n)) for n in range(7)})
    run, _ = edited(tmp_path / "in", tmp_path / "out")
    uris = sealed_object_uris(run)
    assert len(uris) == 3
    table = datasets.load_dataset(
        "parquet", data_files=uris, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert table["image"][:] == [f"{n}.png" for n in range(7)]
    assert table.features["seed"].dtype == "int64"


def test_requests_say_each_what_is_wanted(tmp_path):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": file(picture(1))})
    lines = [
        {"image": "a.png", "instruction": "one"},
        {"image": "a.png", "instruction": "two", "output_key": "a-2.png", "seed": 7},
        {"image": "missing.png", "instruction": "three"},
        {"file_name": "b.png", "edit": "fail"},
        {"image": "a.png", "instruction": "one"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run, done = edited(tmp_path / "in", tmp_path / "out", requests=tmp_path / "list.jsonl")
    assert done.sealed.counts == {"done": 2, "skipped": 0, "failed": 2}
    found = results(run).set_index("key")
    assert found.loc["missing.png"].reason == "no such picture"
    assert found.loc["b.png"].reason == "picture must be finite, got nan or inf"
    assert found.loc["a-2.png"].seed == 7
    assert not verify(run).damages


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ({"image": "a.png"}, 'field "editor": ip2p needs instruction, got none'),
        (
            {"image": "a.png", "instruction": "x", "strength": 0.5},
            'field "editor": ip2p takes none, got strength 0.5',
        ),
        ({"instruction": "x"}, 'field "image": expected the key of a picture'),
        ({"image": "../a.png", "instruction": "x"}, "no part that is empty or begins with a dot"),
        ({"image": "/a.png", "instruction": "x"}, "no part that is empty or begins with a dot"),
        (
            {"image": "a.png", "instruction": "x", "output_key": "_editmill/a"},
            "not lie below _editmill/",
        ),
        (
            {"image": "a.png", "instruction": "x", "output_key": "../a.png"},
            "no part that is empty or begins with a dot",
        ),
        (
            {"image": "a.png", "instruction": "x", "seed": -1},
            'field "seed": expected a number within 0',
        ),
        ({"image": "a.png", "instruction": "x", "seed": 1.5}, 'field "seed": expected a number'),
        (
            {"image": "a.png", "instruction": "x", "strength": 2},
            'field "strength": expected a number',
        ),
        (
            {"image": "a.png", "instruction": "x", "editor": "paint"},
            "must be one of ip2p, sdedit, p2p, pnp",
        ),
        (
            {"image": "a.png", "target_caption": "x", "editor": "sdedit"},
            "configured as recipe.sdedit",
        ),
    ],
)
def test_a_bad_request_is_refused_by_its_line(line, rule, tmp_path):
    put(tmp_path / "in", {"a.png": file(picture())})
    (tmp_path / "list.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ListError, match=r"list\.jsonl:1: ") as error:
        edited(tmp_path / "in", tmp_path / "out", requests=tmp_path / "list.jsonl")
    assert rule in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_mark_names_the_editor_that_made_the_picture(tmp_path):
    put(tmp_path / "in", {"a.png": file(picture()), "b.png": file(picture(1))})
    lines = [
        {"image": "a.png", "instruction": "one"},
        {"image": "b.png", "target_caption": "two", "editor": "sdedit"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = {"requests": tmp_path / "list.jsonl", "sdedit": SDEDIT, "output": {"mark": True}}
    edited(tmp_path / "in", tmp_path / "out", **asked)
    for name, editor in (("a.png", b"ip2p"), ("b.png", b"sdedit")):
        assert b"editmill (" + editor in (tmp_path / "out" / name).read_bytes()


def test_two_pictures_never_come_to_one_key(tmp_path):
    put(tmp_path / "in", {"a.png": file(picture()), "a.jpg": file(picture(1), "JPEG")})
    with pytest.raises(ListError, match=r"a\.webp: .* got two: of a\.jpg and a\.png"):
        edited(tmp_path / "in", tmp_path / "out", output={"format": "webp"})
    assert not (tmp_path / "out").exists()


def test_an_empty_place_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="must hold at least one object, got none"):
        edited(tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="must be a folder or s3://bucket/prefix, got none"):
        edited(tmp_path / "nowhere", tmp_path / "out")


def test_an_empty_prefix_is_refused(moto_bucket):
    put(f"{moto_bucket}/other", {"a.png": file(picture())})
    with pytest.raises(InputError, match=r"/in: must hold at least one object, got none"):
        edited(f"{moto_bucket}/in", f"{moto_bucket}/out")
    assert list(open_store(f"{moto_bucket}/out", USERS).list()) == []


@pytest.mark.parametrize("out", ["s3://bucket/in", "s3://bucket/in/", "s3://bucket/in/edits"])
def test_edits_of_a_prefix_do_not_come_to_it(out):
    with pytest.raises(InputError, match="must not lie below --images s3://bucket/in/?, got edits"):
        check_places("s3://bucket/in/", out)
    check_places("s3://bucket/in", "s3://bucket/in-edits")


def test_a_unit_that_is_given_up_leaves_failed_rows(tmp_path):
    from factory.work.unit import fail_unit

    put(tmp_path / "in", {f"{n}.png": file(picture(n)) for n in range(2)})
    stage = edit_stage(partial(maker, Inverting()))

    def dies(run, plan, units, terms, should_stop):
        fail_unit(stage, run, plan, 0, "ended its worker three times")
        return run_here(stage)(run, plan, units, terms, should_stop)

    run, done = edited(tmp_path / "in", tmp_path / "out", runner=dies)
    assert done.sealed.counts == {"done": 0, "skipped": 0, "failed": 2}
    assert set(results(run).reason) == {"ended its worker three times"}
