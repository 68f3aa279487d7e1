"""Real photographs of mixed sizes, formats and colours through the whole stage."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from factory.edits.edit import edit_stage
from factory.edits.listing import Wish, list_images
from factory.edits.prepare import prepare
from factory.ledger.verify.run import verify
from factory.verbs.machine import load_studio
from factory.work.job import run_job
from factory.work.plain_loop import run_here
from schemas.editors import Ip2p
from tests.factory.edits.pictures import config

FOLDER = Path(skimage.data.__file__).parent
SIZES = {
    "astronaut.png": (512, 512), "chelsea.png": (451, 300), "coffee.png": (600, 400),
    "rocket.jpg": (640, 427), "camera.png": (512, 512), "coins.png": (384, 303), "page.png": (384, 191),
}  # fmt: skip


@pytest.mark.long
def test_photographs_are_edited_and_come_back_at_their_sizes(tmp_path):
    (tmp_path / "in" / "turned").mkdir(parents=True)
    for name in SIZES:
        (tmp_path / "in" / name).write_bytes((FOLDER / name).read_bytes())
    coffee = Image.open(FOLDER / "coffee.png")
    exif = coffee.getexif()
    exif[0x0112] = 6
    coffee.save(tmp_path / "in" / "turned" / "coffee.jpg", exif=exif)
    coffee.convert("CMYK").save(tmp_path / "in" / "print.jpg")
    coffee.save(tmp_path / "in" / "web.webp")
    asked = config(tmp_path / "in", ip2p=Ip2p(model={"source": "miniature/editor"}, steps=2))
    wish = Wish(instruction="make it night")
    run, plan, _ = prepare(asked, str(tmp_path / "out"), lambda: list_images(asked.recipe, wish))
    stage = edit_stage(partial(load_studio))
    done = run_job(stage, run, plan, asked, run_here(stage))
    assert done.sealed.counts == {"done": len(SIZES) + 3, "skipped": 0, "failed": 0}
    sizes = SIZES | {
        "turned/coffee.jpg": (400, 600),
        "print.jpg": (600, 400),
        "web.webp": (600, 400),
    }
    for name, size in sizes.items():
        edited = Image.open(tmp_path / "out" / name)
        assert edited.size == size
        assert edited.mode == "RGB"
        assert edited.format == Image.open(tmp_path / "in" / name).format
        assert np.asarray(edited).std() > 5
    assert not verify(run).damages
