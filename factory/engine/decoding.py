"""From finished latents to pictures and scores, in batches of one fixed shape."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from factory.engine.checkpoint.load import Models
from factory.engine.clip_scorer import similarities
from factory.engine.images import to_picture, to_unit
from factory.pairs.source import Draw, Made, NotMade
from schemas.candidate import Scores


class Decoder:
    """Decodes and scores `pairs` pairs at a time; short batches are padded with the last pair.

    Text features are made once per prompt and kept for the newest `remembered` prompts.
    """

    def __init__(self, models: Models, pairs: int, remembered: int = 4096) -> None:
        self.models = models
        self.pairs = pairs
        self.remembered = remembered
        self._texts: OrderedDict[str, tuple[Tensor, bool]] = OrderedDict()
        self.scaling = float(models.autoencoder.config.scaling_factor)
        self.shift = float(models.autoencoder.config.shift_factor or 0.0)

    @torch.inference_mode()
    def finish(self, latents: Sequence[tuple[Draw, Tensor]]) -> list[Made | NotMade]:
        """One outcome per pair of latents (2, channel, height, width), in order."""
        outcomes: list[Made | NotMade] = []
        for i in range(0, len(latents), self.pairs):
            outcomes += self._chunk(latents[i : i + self.pairs])
        return outcomes

    def _chunk(self, latents: Sequence[tuple[Draw, Tensor]]) -> list[Made | NotMade]:
        padded = [*latents, *[latents[-1]] * (self.pairs - len(latents))]
        stacked = torch.stack([x for _, x in padded])
        decoded = self._decode(stacked.flatten(0, 1))
        finite = decoded.isfinite().flatten(1).all(1).view(self.pairs, 2).all(1).tolist()
        images = to_unit(decoded)
        features = self.models.clip.image_features(images).unflatten(0, (self.pairs, 2))
        images = images.unflatten(0, (self.pairs, 2))
        outcomes: list[Made | NotMade] = []
        for i, (draw, _) in enumerate(latents):
            pair, (image_0, image_1) = images[i], features[i]
            text_0, cut_0 = self._text(draw.triplet.original_prompt)
            text_1, cut_1 = self._text(draw.triplet.edited_prompt)
            truncated = cut_0 or cut_1
            if not finite[i]:
                outcomes.append(NotMade(draw, "picture must be finite, got nan or inf", truncated))
                continue
            row = similarities(image_0[None], image_1[None], text_0[None], text_1[None])[0].tolist()
            if not all(math.isfinite(value) for value in row):
                outcomes.append(NotMade(draw, "score must be finite, got nan", truncated))
                continue
            scores = Scores(**dict(zip(Scores.model_fields, row, strict=True)))
            outcomes.append(Made(draw, to_picture(pair[0]), to_picture(pair[1]), scores, truncated))
        return outcomes

    def _decode(self, x: Tensor) -> Tensor:
        """Latents to images in about [-1, 1]."""
        decoder: Any = self.models.autoencoder
        decoded = decoder.decode((x / self.scaling + self.shift).to(self.models.dtype)).sample
        return decoded.to(x.dtype)

    def _text(self, prompt: str) -> tuple[Tensor, bool]:
        if prompt in self._texts:
            self._texts.move_to_end(prompt)
        else:
            cut = self.models.text.truncates(prompt) or self.models.clip.truncates(prompt)
            self._texts[prompt] = (self.models.clip.text_features(prompt), cut)
            if len(self._texts) > self.remembered:
                self._texts.popitem(last=False)
        return self._texts[prompt]
