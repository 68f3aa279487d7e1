"""From finished latents to pictures and scores, in batches of one fixed shape."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from factory.engine.clip_scorer import similarities
from factory.engine.networks import Models, Networks
from factory.engine.request import Failed, Finished, Request
from factory.pictures import Picture
from schemas.candidate import Scores


class Decoder:
    """Decodes so many pictures at a time, and scores them if asked; a short batch is padded with its last.

    What is known of a prompt is found once and kept for the newest `remembered` prompts.
    """

    def __init__(self, networks: Networks, pictures: int, remembered: int = 4096) -> None:
        self.networks = networks
        self.pictures = pictures
        self._text = lru_cache(remembered)(self._features)
        self._cuts = lru_cache(remembered)(self._is_longer)

    @torch.inference_mode()
    def finish(self, done: Sequence[tuple[Request, Tensor]]) -> list[Finished | Failed]:
        """One result for each request's latents (latent, channel, height, width), in order."""
        wanted = [(request, latents) for request, latents in done if request.returns != "latents"]
        singles = [latents[number] for request, latents in wanted for number in request.pictured]
        scored = any(request.returns == "scores" for request, _ in wanted)
        pictures: list[_Decoded] = []
        for first in range(0, len(singles), self.pictures):
            pictures += self._decoded(singles[first : first + self.pictures], scored=scored)
        waiting = iter(pictures)
        return [
            self._result(request, [next(waiting) for _ in request.pictured])
            if request.returns != "latents"
            else Finished(request, (), self._truncates(request), latents=latents)
            for request, latents in done
        ]

    def _decoded(self, latents: Sequence[Tensor], *, scored: bool) -> "list[_Decoded]":
        padded = torch.stack([*latents, *[latents[-1]] * (self.pictures - len(latents))])
        decoded = self.decode(padded)
        finite = decoded.isfinite().flatten(1).all(1).tolist()
        images = to_unit(decoded)
        features: Sequence[Tensor | None] = [None] * len(latents)
        if scored:
            assert isinstance(self.networks, Models)
            features = list(self.networks.clip.image_features(images))
        return [
            (to_picture(images[i]) if finite[i] else None, features[i]) for i in range(len(latents))
        ]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to images in about [-1, 1]."""
        return self.networks.autoencoder.decode(latents)

    def _result(self, request: Request, decoded: "Sequence[_Decoded]") -> Finished | Failed:
        truncated = self._truncates(request)
        pictures = tuple(picture for picture, _ in decoded if picture is not None)
        if len(pictures) < len(decoded):
            return Failed(request, "picture must be finite, got nan or inf", truncated)
        if request.returns != "scores":
            return Finished(request, pictures, truncated)
        images = [features[None] for _, features in decoded if features is not None]
        texts = [self._text(prompt)[None] for prompt in request.prompts]
        row = similarities(*images, *texts)[0].tolist()
        if not all(math.isfinite(value) for value in row):
            return Failed(request, "score must be finite, got nan", truncated)
        scores = Scores(**dict(zip(Scores.model_fields, row, strict=True)))
        return Finished(request, pictures, truncated, scores)

    def _features(self, prompt: str) -> Tensor:
        assert isinstance(self.networks, Models)
        return self.networks.clip.text_features(prompt)

    def _truncates(self, request: Request) -> bool:
        """Whether a text encoder that is asked cuts a prompt: the network's, and the scorer's."""
        scored = request.returns == "scores"
        return any(self._cuts(prompt, scored) for prompt in request.prompts)

    def _is_longer(self, prompt: str, scored: bool) -> bool:  # noqa: FBT001
        if self.networks.text.truncates(prompt):
            return True
        return scored and isinstance(self.networks, Models) and self.networks.clip.truncates(prompt)


_Decoded = tuple[Picture | None, Tensor | None]
"""A picture, none where it is not finite, and its features, where they were asked for."""


def to_unit(decoded: Tensor) -> Tensor:
    """From the decoder's [-1, 1] to [0, 1], clamped."""
    return (decoded / 2 + 0.5).clamp(0, 1)


def to_picture(image: Tensor) -> Picture:
    """(3, height, width) in [0, 1] to bytes, rounded to nearest (the original truncates)."""
    # Bytes on the device, a quarter of what would leave it otherwise.
    pixels = (image.float() * 255).round().to(torch.uint8).permute(1, 2, 0)
    picture: Picture = pixels.cpu().numpy()
    return picture
