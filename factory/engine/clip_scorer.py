"""The four CLIP similarities, exactly as the original's filter computes them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from factory.engine.staging import ahead


class ClipScorer:
    """Scores pairs with an open_clip model.

    Source: InstructPix2Pix `metrics/clip_similarity.py`: bicubic to the model's size without
    antialiasing, cropping or clamping, on the decoded tensor before any rounding. Thresholds only
    hold for this path.
    """

    def __init__(self, model: Any, tokenize: Any, mean: Tensor, deviation: Tensor) -> None:
        self.model = model
        self.tokenize = tokenize
        self.mean = mean.view(1, 3, 1, 1)
        self.deviation = deviation.view(1, 3, 1, 1)
        size = model.visual.image_size
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)

    def image_features(self, images: Tensor) -> Tensor:
        """Unit vectors (image, width) of images (image, 3, height, width) in [0, 1]."""
        x = images.to(self.mean.dtype)
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode="bicubic", align_corners=False)
        features = self.model.encode_image((x - self.mean) / self.deviation)
        return F.normalize(features, dim=-1)

    def text_features(self, prompt: str) -> Tensor:
        """The unit vector (width,) of a prompt; one that is too long is cut."""
        tokens = ahead(self.tokenize([prompt]), self.mean.device)
        return F.normalize(self.model.encode_text(tokens), dim=-1)[0]

    def truncates(self, prompt: str) -> bool:
        """Whether the prompt is longer than the model's context."""
        length = self.model.context_length
        cut, longer = (self.tokenize([prompt], context_length=n)[0] for n in (length, length + 1))
        return not torch.equal(cut, longer[:length])


def similarities(images_0: Tensor, images_1: Tensor, texts_0: Tensor, texts_1: Tensor) -> Tensor:
    """clip_sim_0, clip_sim_1, clip_sim_dir, clip_sim_image as (pair, 4), from unit vectors.

    The direction is 0 where both prompts, or both images, are equal.
    """
    return torch.stack(
        [
            F.cosine_similarity(images_0, texts_0),
            F.cosine_similarity(images_1, texts_1),
            F.cosine_similarity(images_1 - images_0, texts_1 - texts_0),
            F.cosine_similarity(images_0, images_1),
        ],
        dim=1,
    )
