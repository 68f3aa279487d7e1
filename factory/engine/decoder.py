"""From finished latents to pictures and scores, in batches of one fixed shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from factory.engine.clip_scorer import similarities
from factory.engine.networks import Models, Networks
from factory.engine.request import Failed, Finished, Request
from factory.engine.staging import home
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
        """One result for each request's latents (latent, channel, height, width), in order.

        The device is waited for once, when it has been told all.
        """
        wanted = [(request, latents) for request, latents in done if request.returns != "latents"]
        singles = [latents[number] for request, latents in wanted for number in request.pictured]
        scored = any(request.returns == "scores" for request, _ in wanted)
        batches = [
            self._decoded(singles[first : first + self.pictures], scored=scored)
            for first in range(0, len(singles), self.pictures)
        ]
        scores = self._scores([request for request, _ in wanted], batches) if scored else []
        images, values = _on_host(batches, scores)
        pictures, rows = iter(images), iter(values)
        return [
            self._result(
                request,
                [next(pictures) for _ in request.pictured],
                next(rows) if request.returns == "scores" else [],
            )
            if request.returns != "latents"
            else Finished(request, (), self._truncates(request), latents=latents)
            for request, latents in done
        ]

    def _decoded(self, latents: Sequence[Tensor], *, scored: bool) -> "_Decoded":
        padded = torch.stack([*latents, *[latents[-1]] * (self.pictures - len(latents))])
        decoded = self.decode(padded)
        finite = decoded.isfinite().flatten(1).all(1)
        images = to_unit(decoded)
        features: list[Tensor] = []
        if scored:
            assert isinstance(self.networks, Models)
            features = list(self.networks.clip.image_features(images)[: len(latents)])
        return _Decoded(to_pixels(images)[: len(latents)], finite[: len(latents)], features)

    def _scores(self, wanted: Sequence[Request], batches: "Sequence[_Decoded]") -> list[Tensor]:
        """Of each pair that is to be scored (1, 4), in order; nan where a picture is not finite."""
        features = iter([one for batch in batches for one in batch.features])
        found = []
        for request in wanted:
            images = [next(features)[None] for _ in request.pictured]
            if request.returns == "scores":
                texts = [self._text(prompt)[None] for prompt in request.prompts]
                found.append(similarities(*images, *texts))
        return found

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to images in about [-1, 1]."""
        return self.networks.autoencoder.decode(latents)

    def _result(
        self, request: Request, decoded: Sequence[Picture | None], row: Sequence[float]
    ) -> Finished | Failed:
        truncated = self._truncates(request)
        pictures = tuple(picture for picture in decoded if picture is not None)
        if len(pictures) < len(decoded):
            return Failed(request, "picture must be finite, got nan or inf", truncated)
        if request.returns != "scores":
            return Finished(request, pictures, truncated)
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


@dataclass(frozen=True)
class _Decoded:
    """Pictures that were decoded together, on the device."""

    pixels: Tensor
    """Bytes (picture, 3, height, width)."""
    finite: Tensor
    """Bool (picture,)."""
    features: list[Tensor]
    """Of each, where they were asked for."""


def _on_host(
    batches: Sequence[_Decoded], scores: list[Tensor]
) -> tuple[list[Picture | None], list[list[float]]]:
    """All pictures, none in place of one that is not finite, and all scores."""
    if not batches:
        return [], []
    finite, *pixels = home(
        [
            torch.cat([batch.finite for batch in batches]),
            *(batch.pixels for batch in batches),
            *([torch.cat(scores)] if scores else []),
        ]
    )
    rows: list[list[float]] = pixels.pop().tolist() if scores else []
    each = [one for batch in pixels for one in batch]
    return [
        to_picture(one) if known else None for one, known in zip(each, finite.tolist(), strict=True)
    ], rows


def to_unit(decoded: Tensor) -> Tensor:
    """From the decoder's [-1, 1] to [0, 1], clamped."""
    return (decoded / 2 + 0.5).clamp(0, 1)


def to_pixels(images: Tensor) -> Tensor:
    """[0, 1] to bytes, rounded to nearest (the original truncates); a quarter of what would leave the
    device otherwise.
    """
    return (images.float() * 255).round().to(torch.uint8)


def to_picture(pixels: Tensor) -> Picture:
    """Bytes of the host (3, height, width) as a picture, in memory of its own: that of a whole batch, which
    may be page-locked, need not stay for it.
    """
    picture: Picture = pixels.clone().permute(1, 2, 0).numpy()
    return picture
