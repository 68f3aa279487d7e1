"""The reference's scores on features that can be worked out by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.factory.engine.reference_scores import CLIP_DEVIATION, CLIP_MEAN, reference_scores

torch.set_num_threads(1)


class FlatClip:
    """Features that are the 12 numbers of a 2 x 2 picture, and the tokens themselves."""

    class visual:  # noqa: N801
        image_size = (2, 2)

    def encode_image(self, image: Tensor) -> Tensor:
        return image.flatten(1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return tokens


def test_scores_are_the_four_cosines_of_the_filter() -> None:
    texts = {
        "one": torch.eye(12, dtype=torch.float64)[:1],
        "two": torch.eye(12, dtype=torch.float64)[1:2],
    }

    def tokenize(captions: list[str]) -> Tensor:
        return torch.cat([texts[caption] for caption in captions])

    before = torch.full((3, 2, 2), 0.5, dtype=torch.float64)
    before[0, 0, 0] = 1.0
    after = before.clone()
    after[0, 0] = torch.tensor([0.5, 0.75])
    clip: Any = FlatClip()
    centred = {"mean": (0.5, 0.5, 0.5), "deviation": (0.5, 0.5, 0.5)}
    # Features are then along the first and the second pixel, as the texts' are, but one shorter.
    scores = reference_scores(clip, tokenize, before, after, "one", "two", **centred)
    expected = {"clip_sim_0": 1, "clip_sim_1": 1, "clip_sim_dir": 1, "clip_sim_image": 0}
    assert scores == pytest.approx(expected, abs=1e-12)
    unmoved = reference_scores(clip, tokenize, before, after, "one", "one", **centred)
    assert unmoved["clip_sim_dir"] == 0
    # A mid grey channel is (0.5 - mean) / deviation, by OpenAI CLIP's own unless told otherwise.
    assert CLIP_MEAN == (0.48145466, 0.4578275, 0.40821073)
    assert CLIP_DEVIATION == (0.26862954, 0.26130258, 0.27577711)
    grey = torch.full((3, 2, 2), 0.5, dtype=torch.float64)
    z = [(0.5 - m) / d for m, d in zip(CLIP_MEAN, CLIP_DEVIATION, strict=True)]
    length = (4 * sum(value**2 for value in z)) ** 0.5
    score = reference_scores(clip, tokenize, grey, grey, "one", "one")["clip_sim_0"]
    assert score == pytest.approx(z[0] / length, rel=1e-9)


def test_scores_shrink_a_picture_without_antialias_or_clamp() -> None:
    class Seen(FlatClip):
        def encode_image(self, image: Tensor) -> Tensor:
            seen.append(image)
            return super().encode_image(image)

    seen: list[Tensor] = []
    row = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    picture = row.expand(3, 8, 8).contiguous()
    clip: Any = Seen()
    text = torch.ones(1, 12, dtype=torch.float64)
    plain = {"mean": (0.0, 0.0, 0.0), "deviation": (1.0, 1.0, 1.0)}
    reference_scores(clip, lambda _: text, picture, picture, "", "", **plain)
    # Output pixel 0 lies between pixels 1 and 2, output pixel 1 between 5 and 6: Keys' cubic
    # (a = -0.75) at the middle weighs four neighbours -3/32, 19/32, 19/32, -3/32.
    assert seen[0][0, 0, 0].tolist() == pytest.approx([19 / 32, 38 / 32], abs=1e-12)
