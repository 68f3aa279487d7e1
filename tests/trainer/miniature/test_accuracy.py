"""The measures tell good models from bad ones; stand-ins for the models."""

import hashlib

import numpy as np
import torch
import torch.nn.functional as F

from factory.miniature import world
from factory.miniature.wilson import wilson
from trainer.miniature.accuracy import (
    clip_accuracy,
    neighbours,
    others,
    render,
    text_to_image_accuracy,
)

CAPTIONS = world.held_out_captions()[:40]
PICTURES = render(CAPTIONS)


class Clip:
    """Knows every picture's caption, or always thinks of another one."""

    def __init__(self, thinks: dict[str, str]) -> None:
        self.captions = {PICTURES[caption].tobytes(): thinks[caption] for caption in CAPTIONS}

    def image_features(self, images):
        pixels = (images[0].permute(1, 2, 0) * 255).round().byte().numpy()
        return self.text_features(self.captions[pixels.tobytes()])[None]

    def text_features(self, prompt):
        seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4])
        return F.normalize(torch.randn(64, generator=torch.Generator().manual_seed(seed)), dim=0)


def test_rendered_pictures_are_all_right_and_blank_ones_unreadable():
    assert text_to_image_accuracy(PICTURES)["t2i_accuracy"] == 1.0
    blank = {caption: np.zeros((64, 64, 3), np.uint8) for caption in CAPTIONS}
    found = text_to_image_accuracy(blank)
    assert (found["t2i_accuracy"], found["unreadable"]) == (0.0, 1.0)


def test_a_wrong_attribute_counts_against_itself_and_the_whole():
    first = CAPTIONS[0]
    scene = world.parse_caption(first)
    other = next(n for n in neighbours(first) if world.parse_caption(n).shape != scene.shape)
    found = text_to_image_accuracy(PICTURES | {first: picture_of(other)})
    assert found["t2i_accuracy"] == 1 - 1 / len(CAPTIONS)
    assert found["shape_right"] == 1 - 1 / len(CAPTIONS)
    assert found["colour_right"] == 1.0


def picture_of(caption):
    return render([caption])[caption]


def test_clip_is_right_where_the_own_caption_is_nearest():
    knows = clip_accuracy(Clip({c: c for c in CAPTIONS}), PICTURES)
    assert knows == {"of_32": 1.0, "of_neighbours": 1.0}
    errs = clip_accuracy(Clip({c: neighbours(c)[0] for c in CAPTIONS}), PICTURES)
    assert errs["of_neighbours"] == 0.0


def test_rivals_are_as_many_as_said_and_never_the_caption_itself():
    for caption in CAPTIONS:
        assert len(set(others(caption))) == 31
        assert len(set(neighbours(caption))) == 6 + 6 + 5 + 1 + 2
        assert caption not in others(caption) + neighbours(caption)


def test_wilsons_interval_holds_its_share():
    low, high = wilson(0.95, 200)
    assert (round(low, 4), round(high, 4)) == (0.9104, 0.9726)
    assert wilson(0.0, 0) == (0.0, 1.0)
    # Rounding would leave it, and a page would show -0.0.
    assert all(wilson(0.0, n)[0] >= 0 and wilson(1.0, n)[1] <= 1 for n in range(1, 400))
