"""DINO's self-similarity, of weights that are given: how much of a picture's layout an edit moves.

Keys of the last layer's attention stand for patches, whatever their colour; a picture's layout is the
matrix of their cosines, and two pictures differ by the mean square of what their matrices differ.

Source: Tumanyan et al. 2022 (arXiv:2201.00424), section 3.2, as PnP (arXiv:2211.12572) and PIE-Bench
measure structure with DINO's ViT-B/8. Pictures are resized whole to the network's own size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ViTModel

from factory.errors import ModelError, first_line
from schemas.recipe import ModelSource

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEYS = ("k_proj", "key")
"""What transformers calls the layer that makes keys."""


def load_dino(source: ModelSource, device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """The distance by a folder with `config.json` and `model.safetensors`. Raises `ModelError`."""
    folder = Path(source.source)
    try:
        model = ViTModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, add_pooling_layer=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: cannot load a ViT: {first_line(error)}") from error
    model.to(device).eval().requires_grad_(False)
    layer = [part for name, part in model.named_modules() if name.rpartition(".")[2] in _KEYS][-1]
    side = model.config.image_size
    mean, deviation = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION))

    def keys(picture: Tensor) -> Tensor:
        """(token, width) of the last layer, the class token first."""
        x = F.interpolate(picture, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        held: list[Tensor] = []

        def hear(module: Any, given: Any, made: Tensor) -> None:
            held.append(made)

        hook = layer.register_forward_hook(hear)
        try:
            model((x - mean) / deviation)
        finally:
            hook.remove()
        return held[0][0]

    def distance(first: Tensor, second: Tensor) -> float:
        one, other = (cosines(keys(picture)) for picture in (first, second))
        return float((one - other).square().mean())

    return distance


def cosines(vectors: Tensor) -> Tensor:
    """(vector, vector) of vectors (vector, width)."""
    unit = F.normalize(vectors, dim=-1)
    return unit @ unit.T
