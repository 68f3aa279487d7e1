"""A run without some of its pairs."""

import hashlib
import io
import json
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from editmill import app
from factory.errors import InputError
from factory.ledger.manifest import newest_manifest
from factory.ledger.run import open_run
from factory.pairs.cleaning.purge import read_hashes
from factory.pairs.generate import prepare
from factory.pairs.sheet import opened, sealed_pairs
from factory.pairs.source import Made
from factory.pairs.triplets import TripletList
from factory.pairs.verify import verify
from schemas.config import Config
from tests.factory.pairs.test_reselection import WIDER, files, generated, settings
from tests.stub_source import StubSource, triplets


def purge(*words: object):
    """The command: its exit code, its JSON and what it said."""
    done = CliRunner().invoke(app, ["purge", *map(str, words), "--json"])
    return done.exit_code, json.loads(done.stdout or "null"), done.stderr


def pairs_of(place):
    run = open_run(str(place))
    _, manifest = newest_manifest(run)
    return list(sealed_pairs(run, manifest))


def names(pairs):
    return [(pair.triplet_id, pair.index) for pair in pairs]


def sha(image):
    return hashlib.sha256(image.bytes).hexdigest()


@pytest.fixture
def listed(tmp_path):
    """A run, the pairs that must go, and a file of the hashes of one picture of each."""
    generated(tmp_path / "run")
    pairs = pairs_of(tmp_path / "run")
    gone = [pairs[0], pairs[3], pairs[-1]]
    hashes = [sha(gone[0].original_image), sha(gone[1].edited_image), sha(gone[2].edited_image)]
    lines = [f"{hashes[0]}  a.png", "# of the second", hashes[1].upper(), "", hashes[2], "0" * 64]
    (tmp_path / "hashes.txt").write_text("\n".join(lines))
    return pairs, gone


def test_pairs_whose_pictures_are_listed_go_and_all_others_stay_as_they_were(tmp_path, listed):
    pairs, gone = listed
    before = files(tmp_path / "run")
    code, said, words = purge(
        tmp_path / "run", "--hashes", tmp_path / "hashes.txt", "--out", tmp_path / "left"
    )
    assert code == 0, words
    assert "3 of them are taken out: 3 by hash" in words
    assert "1 hashes of no pair" in words
    left = pairs_of(tmp_path / "left")
    assert left == [pair for pair in pairs if pair not in gone]
    assert said["counts"]["accepted"] == len(left)
    assert files(tmp_path / "run") == before
    assert verify(open_run(str(tmp_path / "left"))).damages == []
    # Nowhere a byte of theirs.
    held = b"".join(p.read_bytes() for p in (tmp_path / "left").rglob("*") if p.is_file())
    assert not any(pair.edited_image.bytes in held for pair in gone)


def test_it_is_resumed_by_the_same_words_and_refuses_others(tmp_path, listed):
    words = (tmp_path / "run", "--hashes", tmp_path / "hashes.txt", "--name", "left")
    with patch("factory.verbs.runs.purge.run_job", side_effect=KeyboardInterrupt):
        assert purge(*words)[0] == 3
    assert purge(*words)[0] == 0
    once = files(tmp_path / "run/selections/left")
    assert purge(*words)[0] == 0
    assert files(tmp_path / "run/selections/left") == once
    code, _, said = purge(tmp_path / "run", "--duplicates", "--near", 0, "--name", "left")
    assert code == 2
    assert "other pairs were taken out of it; choose another --name or --out" in said


def test_nothing_brings_them_back(tmp_path, listed):
    pairs, gone = listed
    left = tmp_path / "left"
    purge(tmp_path / "run", "--hashes", tmp_path / "hashes.txt", "--out", left)
    # By gates that let nearly all through.
    source = StubSource()
    with patch("factory.verbs.machine.engine", lambda recipe, compute: source):
        words = [
            "select",
            str(left),
            *settings(WIDER, **{"recipe.keep.most": 12}),
            "--name",
            "wide",
        ]
        assert CliRunner().invoke(app, words).exit_code == 0
    wide = names(pairs_of(left / "selections/wide"))
    assert set(names(pairs)) - set(names(gone)) <= set(wide)
    assert len(wide) > len(pairs)
    assert not set(names(gone)) & set(wide)
    assert not set(names(gone)) & set(source.made)
    # Nor `generate`, which would make a damaged unit again, whole.
    run = open_run(str(left))
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    with pytest.raises(InputError, match="pairs were purged from this run; `purge` alone"):
        prepare(config, TripletList(triplets(9)), str(left))


class Photographs(StubSource):
    """All that pass look like one of two photographs, before, and after like the same or another."""

    SCENES = ("astronaut", "chelsea", "coffee", "rocket")

    def pairs(self, draws):
        for one in super().pairs(draws):
            if not isinstance(one, Made):
                yield one
                continue
            before, after = (
                shown(self.SCENES[(one.draw.seed >> shift) % of], one.draw.seed % 7)
                for shift, of in ((3, 2), (5, 4))
            )
            yield Made(one.draw, before, after, one.scores, one.truncated)


def shown(name, blur):
    picture = Image.fromarray(getattr(data, name)()).convert("RGB").resize((64, 64))
    return (np.asarray(picture, float) * (1 - 0.02 * blur)).astype(np.uint8)


@pytest.fixture
def photographs(tmp_path):
    with patch("tests.factory.pairs.test_reselection.StubSource", Photographs):
        generated(tmp_path / "run", size_px=64)
    return pairs_of(tmp_path / "run")


def scenes(pair):
    """Which photographs a pair shows, found by what lies nearest."""
    known = {name: shown(name, 3).astype(float) for name in Photographs.SCENES}

    def which(image):
        pixels = np.asarray(opened(image.bytes), float)
        return min(known, key=lambda name: abs(known[name] - pixels).mean())

    return which(pair.original_image), which(pair.edited_image)


def test_of_pairs_that_look_alike_before_and_after_the_first_stays(tmp_path, photographs):
    code, _, said = purge(tmp_path / "run", "--duplicates", "--out", tmp_path / "left")
    assert code == 0, said
    first = {}
    for pair in photographs:
        first.setdefault(scenes(pair), pair)
    assert 2 < len(first) < len(photographs)
    assert pairs_of(tmp_path / "left") == list(first.values())


def test_pairs_that_look_like_a_benchmark_s_pictures_go(tmp_path, photographs):
    (tmp_path / "benchmark/more").mkdir(parents=True)
    Image.fromarray(data.coffee()).save(tmp_path / "benchmark/more/c.jpg", quality=70)
    (tmp_path / "benchmark/list.txt").write_text("c.jpg")
    code, _, said = purge(
        tmp_path / "run", "--benchmark", tmp_path / "benchmark", "--out", tmp_path / "left"
    )
    assert code == 0, said
    assert "benchmark: 1 pictures, 1 other files" in said
    wanted = [pair for pair in photographs if "coffee" not in scenes(pair)]
    assert 0 < len(wanted) < len(photographs)
    assert pairs_of(tmp_path / "left") == wanted
    reasons = (tmp_path / "left/purged.jsonl").read_text()
    assert "purged: like a picture of a benchmark" in reasons
    assert "more/c.jpg" in reasons


def test_what_would_go_is_counted_and_nothing_written(tmp_path, listed):
    before = files(tmp_path)
    code, said, _ = purge(
        tmp_path / "run", "--hashes", tmp_path / "hashes.txt", "--duplicates", "--dry-run"
    )
    assert code == 0
    assert said["by_hash"] == 3
    assert said["taken_out"] == 3 + said["near_duplicates"]
    assert said["pairs"] == len(listed[0])
    assert files(tmp_path) == before


def test_a_line_without_a_hash_is_named():
    with pytest.raises(InputError, match=r"gone, line 2: must begin with 64 hex digits .* 'abc'"):
        read_hashes(io.StringIO(f"{'0' * 64}\nabc\n"), "gone")


def test_the_card_of_an_export_says_what_was_taken_out(tmp_path, listed):
    out = str(tmp_path / "clean")
    assert purge(tmp_path / "run", "--hashes", tmp_path / "hashes.txt", "--out", out)[0] == 0
    for run, said in ((out, True), (str(tmp_path / "run"), False)):
        to = tmp_path / f"export-{said}"
        done = CliRunner().invoke(app, ["export", run, "--to", str(to)])
        assert done.exit_code == 0, done.stderr
        assert "models" not in done.stderr
        text = " ".join((to / "README.md").read_text().split())
        assert ("`purge` took pairs out of it" in text) == said
        assert ("count as not made: a picture's hash is listed 3." in text) == said
