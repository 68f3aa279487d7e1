"""The reference's scores: the CLIP filter of timothybrooks/instruct-pix2pix, one pair at a time.

Behaviour matched: metrics/clip_similarity.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@torch.no_grad()
def reference_scores(
    clip_model: Any,
    tokenize: Callable[[list[str]], Tensor],
    before: Tensor,
    after: Tensor,
    original_prompt: str,
    edited_prompt: str,
    *,
    mean: Sequence[float] = CLIP_MEAN,
    deviation: Sequence[float] = CLIP_DEVIATION,
) -> dict[str, float]:
    """The four similarities of the original's filter, by their stored names.

    `clip_model` is open_clip's (`encode_image`, `encode_text`, `visual.image_size`), the images are
    (3, H, W) in [0, 1] and in its dtype. No antialias, no clamp after the bicubic resize.
    """
    size = clip_model.visual.image_size
    size = (size, size) if isinstance(size, int) else tuple(size)

    def image_features(image: Tensor) -> Tensor:
        resized = functional.interpolate(
            image[None], size=size, mode="bicubic", align_corners=False, antialias=False
        )
        like = {"dtype": image.dtype, "device": image.device}
        shift = torch.tensor(mean, **like).reshape(1, 3, 1, 1)
        spread = torch.tensor(deviation, **like).reshape(1, 3, 1, 1)
        features = clip_model.encode_image((resized - shift) / spread)
        return features / features.norm(dim=1, keepdim=True)  # type: ignore[no-any-return]

    def text_features(text: str) -> Tensor:
        features = clip_model.encode_text(tokenize([text]).to(before.device))
        return features / features.norm(dim=1, keepdim=True)  # type: ignore[no-any-return]

    i0, i1 = image_features(before), image_features(after)
    t0, t1 = text_features(original_prompt), text_features(edited_prompt)
    return {
        "clip_sim_0": float(functional.cosine_similarity(i0, t0)),
        "clip_sim_1": float(functional.cosine_similarity(i1, t1)),
        "clip_sim_dir": float(functional.cosine_similarity(i1 - i0, t1 - t0)),
        "clip_sim_image": float(functional.cosine_similarity(i0, i1)),
    }
