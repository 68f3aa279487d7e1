"""A sheet's pictures: in the shapes of the law, few at once, each edit beside its own original."""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from factory.dataset.pairs import EditPair
from factory.pairs.sheet import CELL_PX, MARGIN_PX, TEXT_PX
from schemas.training.fit import Law, Sampler
from trainer.watching import sheet

SIZES = ((80, 40), (40, 40), (80, 40), (40, 80), (80, 40))
"""Width and height by row."""


def colour(row):
    return (40 * row, 0, 100)


def png(size, colour):
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


class Rows:
    """Of one colour each."""

    def pair(self, row):
        before, after = png(SIZES[row], colour(row)), png(SIZES[row], (0, 255, 0))
        return EditPair(before, f"edit {row}", after)


class Inverting:
    """An editor that makes negatives, and keeps what it was asked."""

    networks = SimpleNamespace(autoencoder=SimpleNamespace(factor=1))

    def __init__(self):
        self.asked = []

    def edit(self, pictures, instructions, noise_seeds, **settings):
        self.asked.append((tuple(pictures.shape), tuple(instructions), tuple(noise_seeds)))
        return list(255 - pictures.permute(0, 2, 3, 1).numpy())


def drawn(buckets):
    law = Law(model={"source": "any"}, size_px=64, buckets=buckets)
    editor = Inverting()
    data = sheet.edit_sheet(editor, Rows(), range(len(SIZES)), law, Sampler())
    return editor.asked, np.asarray(Image.open(io.BytesIO(data)))


def shown(pixels, row, place):
    """The width, height and colour of one of a row's three pictures."""
    top = MARGIN_PX + row // 2 * (CELL_PX + TEXT_PX)
    left = MARGIN_PX + row % 2 * (3 * CELL_PX + MARGIN_PX) + place * CELL_PX
    room = pixels[top : top + CELL_PX, left : left + CELL_PX]
    inked = (room != 255).any(-1)
    return int(inked[0].sum()), int(inked[:, 0].sum()), tuple(map(int, room[0, 0]))


def test_buckets_keep_the_aspect_from_the_editor_to_the_sheet():
    asked, pixels = drawn(buckets=True)
    wide, square, high = (3, 48, 88), (3, 64, 64), (3, 88, 48)
    assert {shape[1:]: said for shape, said, _ in asked} == {
        wide: ("edit 0", "edit 2", "edit 4"),
        square: ("edit 1",),
        high: ("edit 3",),
    }
    sizes = {(80, 40): (190, 104), (40, 40): (190, 190), (40, 80): (104, 190)}
    for row, size in enumerate(SIZES):
        for place in range(3):
            assert shown(pixels, row, place)[:2] == sizes[size]


def test_without_buckets_all_are_squares():
    asked, pixels = drawn(buckets=False)
    assert [shape for shape, _, _ in asked] == [(5, 3, 64, 64)]
    assert shown(pixels, 0, 0)[:2] == (190, 190)


def test_a_batch_holds_so_many_pixels_and_each_edit_stands_beside_its_original(monkeypatch):
    monkeypatch.setattr(sheet, "PIXELS_AT_ONCE", 2 * 48 * 88)
    asked, pixels = drawn(buckets=True)
    assert [len(said) for _, said, _ in asked] == [2, 1, 1, 1]
    for row in range(len(SIZES)):
        assert shown(pixels, row, 0)[2] == colour(row)
        assert shown(pixels, row, 1)[2] == tuple(255 - part for part in colour(row))
    seeds = {text: seed for _, said, seeds in asked for text, seed in zip(said, seeds, strict=True)}
    assert seeds == {f"edit {row}": row for row in range(len(SIZES))}
    monkeypatch.setattr(sheet, "PIXELS_AT_ONCE", 1)
    assert [len(said) for _, said, _ in drawn(buckets=False)[0]] == [1] * 5
