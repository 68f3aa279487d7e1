"""Pictures, a stand-in for editors, and runs of it, as tests of bulk edits ask for them."""

import io
from functools import partial

import numpy as np
from PIL import Image

from factory.edits.edit import Edited, EditMaker, edit_stage
from factory.edits.listing import Wish, canonical, list_images, read_requests
from factory.edits.prepare import prepare
from factory.work.job import run_job
from factory.work.plain_loop import run_here
from schemas.editors import Ip2p, Sdedit
from schemas.edits import EditCompute, EditEnvironment, EditRecipe, Edits

IP2P = Ip2p(model={"source": "miniature/editor"}, steps=2)
SDEDIT = Sdedit(model={"source": "miniature"}, steps=4)
HERE = {"where": "here", "device": "cpu", "gpus_per_worker": 0}


def picture(seed=0, size=(30, 20), mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 4), np.uint8)
    return Image.fromarray(noise, "RGBA").convert(mode)


def file(image, format="PNG", **options):
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


class Inverting:
    """Edits by turning colours round; counts what it was asked for."""

    def __init__(self):
        self.asked = []

    def edit(self, asked):
        for place, (item, pixels) in reversed(list(enumerate(asked))):
            self.asked.append(item.key)
            if item.instruction == "fail":
                yield (
                    place,
                    Edited(None, "picture must be finite, got nan or inf", {"truncated": False}),
                )
                continue
            size = {"height": pixels.shape[0], "width": pixels.shape[1]}
            yield place, Edited(255 - pixels, None, {"truncated": False, **size})

    def environment(self):
        return EditEnvironment(device="stub", wheels={}, batch_images=1, decode_images=1, threads=1)


def config(images, **recipe):
    whole = {"ip2p": IP2P, "size_px": 64, "unit_images": 2, **recipe}
    return Edits(
        recipe=EditRecipe(images=canonical(str(images)), **whole), compute=EditCompute(**HERE)
    )


def edited(images, out, wish="turn them round", requests=None, editors=None, runner=None, **asked):
    """A run from its listing to its seal; `asked` are those of `prepare` and of the recipe."""
    how = {name: asked.pop(name) for name in ("extend", "retry_failed") if name in asked}
    wanted, editors = config(images, **asked), editors or Inverting()

    def listed():
        if requests is not None:
            return read_requests(str(requests), wanted.recipe)
        return list_images(wanted.recipe, Wish(instruction=wish))

    run, plan, _ = prepare(wanted, str(out), listed, **how)
    stage = edit_stage(partial(maker, editors))
    return run, run_job(stage, run, plan, wanted, runner or run_here(stage))


def maker(editors, run, compute):
    return EditMaker(run, compute, editors)
