"""Which of a run's own pictures a pipeline's calls for several are compared on."""

import numpy as np

from factory.edits.first_pictures import first_pictures
from schemas.edits import EditCompute
from tests.factory.edits.pictures import HERE, edited, file, picture

COMPUTE = EditCompute(**HERE)


def shown(run, images, editor="ip2p", most=2):
    return [
        (item.image, pixels)
        for item, pixels in first_pictures(run, str(images), COMPUTE, editor, most)
    ]


def test_they_are_the_plans_first_that_open(tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    (images / "a.txt").write_text("a note")
    (images / "b.png").write_text("no picture")
    for number, name in enumerate(("c.png", "d.png", "e.png")):
        (images / name).write_bytes(file(picture(number)))
    run, _ = edited(images, tmp_path / "out")
    found = shown(run, images)
    assert [name for name, _ in found] == ["c.png", "d.png"]
    assert all(
        (pixels == np.asarray(picture(number))).all() for number, (_, pixels) in enumerate(found)
    )
    assert [name for name, _ in shown(run, images, most=9)] == ["c.png", "d.png", "e.png"]
    assert shown(run, images, editor="diffusers") == []
