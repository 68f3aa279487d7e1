"""What is measured of an edit: CLIP's similarities, distances of pixels and features, the oracle's word.

Both pictures are 8 bit and of the size at which the edit is given out.
"""

from collections.abc import Callable
from dataclasses import asdict
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from factory.engine.checkpoint.load import load_clip
from factory.engine.clip_scorer import similarities
from factory.engine.device import torch_device
from factory.models.find import placed
from factory.pictures import Picture
from schemas.edits import EditCompute
from schemas.evaluation import EvaluationItem, EvaluationRecipe
from trainer.evaluation.measures.perceptual import load_lpips
from trainer.evaluation.measures.self_similarity import load_dino
from trainer.miniature.tasks import judge_edit

DIGITS = 6
"""Of a score that is stored."""
TEXTS = 8192
"""Captions whose features are kept."""

Distance = Callable[[Tensor, Tensor], float]
"""Of two pictures (1, 3, height, width) in [0, 1]."""


class Scorer:
    """Measures edits. Threads may share it.

    The recipe's models must be pinned. Raises `ModelError` where one cannot be loaded.
    """

    def __init__(self, recipe: EvaluationRecipe, compute: EditCompute) -> None:
        self.device = torch_device(compute.device)
        self.threads = compute.threads
        self.clip = load_clip(placed(recipe.clip, "clip"), self.device, torch.float32)
        self.lpips = load_lpips(recipe.lpips, self.device) if recipe.lpips else None
        self.dino = load_dino(recipe.dino, self.device) if recipe.dino else None
        self.has_oracle = recipe.held_out.kind == "miniature"
        self._texts: dict[str, Tensor] = {}
        self._lock = Lock()

    def measure(self, item: EvaluationItem, before: Picture, after: Picture) -> dict[str, Any]:
        """Every measure of an `EvaluationRow`, null where it does not apply.

        Pictures are (height, width, 3) uint8; the first is brought to the second's size where that differs.
        """
        shown = sized(before, after)
        with self._lock, torch.inference_mode():
            torch.set_num_threads(self.threads)
            images = [self._image(shown), self._image(after)]
            found: dict[str, Any] = self._similarities(item, images)
            for name, distance in (("lpips", self.lpips), ("dino", self.dino)):
                found[name] = None if distance is None else distance(images[0], images[1])
        found["l1"] = l1(shown, after)
        rounded = {n: None if v is None else round(v, DIGITS) for n, v in found.items()}
        return rounded | self._word(item, before, after)

    def _image(self, picture: Picture) -> Tensor:
        """(1, 3, height, width) in [0, 1], as CLIP expects it; the original's metrics gave it [-1, 1]."""
        pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return pixels[None].to(self.device).float() / 255

    def _similarities(self, item: EvaluationItem, images: list[Tensor]) -> dict[str, float | None]:
        first, second = (self.clip.image_features(image) for image in images)
        source, target = item.source_caption, item.target_caption
        texts = [self._text(words) if words else None for words in (source, target)]
        # What stands for a caption that there is none of is not looked at.
        known = [first[0] if text is None else text for text in texts]
        values = similarities(first, second, known[0][None], known[1][None])[0].tolist()
        has = (texts[0] is not None, texts[1] is not None, None not in (source, target), True)
        names = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image")
        return {
            name: value if there else None
            for name, value, there in zip(names, values, has, strict=True)
        }

    def _text(self, words: str) -> Tensor:
        if words not in self._texts:
            if len(self._texts) >= TEXTS:
                self._texts.clear()
            self._texts[words] = self.clip.text_features(words)
        return self._texts[words]

    def _word(self, item: EvaluationItem, before: Picture, after: Picture) -> dict[str, Any]:
        """The oracle's, of the miniature's scenes."""
        source, target = item.source_caption, item.target_caption
        if not self.has_oracle or source is None or target is None:
            return {}
        judged = judge_edit(before, after, source, target)
        return {
            **asdict(judged.judgement),
            "true": judged.judgement.true,
            "unchanged": judged.identity,
            "unreadable": judged.unreadable,
        }


def sized(before: Picture, after: Picture) -> Picture:
    """A picture at the size of its edit, resized whole as its editor does."""
    if before.shape == after.shape:
        return before
    height, width = after.shape[:2]
    return np.asarray(Image.fromarray(before).resize((width, height), Image.Resampling.LANCZOS))


def l1(before: Picture, after: Picture) -> float:
    """Mean absolute difference over all channels of all pixels, 0..1; both of one shape."""
    return float(np.abs(before.astype(np.int16) - after.astype(np.int16)).mean()) / 255
