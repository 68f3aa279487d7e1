"""A dataset's pictures come out of children: Pillow's pixels, and none of them outlives its reader."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from factory.console.progress import Progress
from factory.dataset.dataset import Dataset
from factory.dataset.decoders import Decoders
from factory.untrusted_image import child as script
from factory.untrusted_image.decoder import ImageRefused
from schemas.training.fit import Sampler
from tests.nursery.family import descendants
from tests.trainer.encoded import configuration, write_dataset
from tests.trainer.small import png, small, train, write_pairs
from trainer.feeding.reader import PictureReader
from trainer.latents.encode import encode_dataset
from trainer.watching.sheet import edit_sheet


def children():
    """Decoders that this process, or one below it, has started."""
    found = set()
    for child in descendants(os.getpid()):
        try:
            if script.__file__ in child.cmdline():
                found.add(child)
        except psutil.NoSuchProcess:
            continue
    return found


def picture(mode, format, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, len(mode)), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(data, format, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [picture("RGB", "PNG"), picture("RGB", "JPEG", quality=95), picture("L", "JPEG")],
    ids=["PNG", "JPEG", "grey"],
)
def test_an_ordinary_picture_has_the_pixels_that_pillow_reads(data):
    with closing(Decoders()) as decoders:
        found = decoders.decode(data, "original")
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("data", [png(1)[:200], b"", b"not a picture", picture("RGB", "GIF")])
def test_what_is_no_picture_is_refused_by_name_and_the_next_is_read(data):
    with closing(Decoders()) as decoders:
        with pytest.raises(ImageRefused, match=r"^edited: must "):
            decoders.decode(data, "edited")
        assert decoders.decode(png(1), "edited").shape == (16, 16, 3)


def test_threads_have_a_child_each_and_leave_it_to_the_next():
    before, meet = children(), threading.Barrier(3)
    with closing(Decoders()) as decoders, ThreadPoolExecutor(3) as threads:

        def decode(seed):
            meet.wait()
            return decoders.decode(png(seed), "original")

        for first in (0, 3):
            found = list(threads.map(decode, range(first, first + 3)))
            for seed, pixels in enumerate(found, first):
                assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(png(seed)))))
        assert 1 <= len(children() - before) <= 3
    assert children() <= before


def test_a_training_ends_its_children_however_it_ends(tmp_path, monkeypatch):
    before, seen, read = children(), set(), PictureReader.read

    def watched(reader, item):
        found = read(reader, item)
        seen.update(children() - before)
        return found

    monkeypatch.setattr(PictureReader, "read", watched)
    dataset = write_pairs(tmp_path / "pairs")
    train(small(), dataset, tmp_path / "out", should_stop=iter([False, True]).__next__)
    assert seen
    assert children() <= before
    seen.clear()
    with pytest.raises(KeyError):
        train(small(), dataset, tmp_path / "out", is_leaving={}.popitem)
    assert seen
    assert children() <= before


def test_an_encoding_ends_its_children_however_it_ends(tmp_path, monkeypatch):
    before, seen = children(), set()
    dataset = write_dataset(tmp_path / "pairs", rows=(20, 4))

    def advance(self, **counts):
        seen.update(children() - before)

    monkeypatch.setattr(Progress, "advance", advance)
    encode_dataset(configuration(), dataset, str(tmp_path / "out"))
    assert seen
    assert children() <= before
    seen.clear()

    def stop(self, **counts):
        advance(self)
        raise KeyError

    monkeypatch.setattr(Progress, "advance", stop)
    with pytest.raises(KeyError):
        encode_dataset(configuration(), dataset, str(tmp_path / "other"))
    assert seen
    assert children() <= before


def test_a_sheet_ends_its_child_and_leaves_unreadable_rows_out(tmp_path):
    asked = []

    class Still:
        networks = SimpleNamespace(autoencoder=SimpleNamespace(factor=8))

        def edit(self, pictures, instructions, seeds, **settings):
            asked.append(instructions)
            return pictures.permute(0, 2, 3, 1).numpy()

    before = children()
    bad = {"bytes": b"not a picture", "path": "x"}
    pairs, law = Dataset.open(write_pairs(tmp_path, edited_image=bad)), small(False).law
    data = edit_sheet(Still(), pairs, [0, 2, 4], law, Sampler())
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert asked == [("make it green", "make it blue")]
    assert edit_sheet(Still(), pairs, [0], law, Sampler()) is None
    assert children() <= before
