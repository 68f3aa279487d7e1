"""Score released pairs again, and make them again: our engine against the original's files."""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from benchmarks.released.folder import ReleasedPair
from benchmarks.released.original_draws import ChainedNoise
from factory.engine.batch import Batch
from factory.engine.clip_scorer import ClipScorer, similarities
from factory.engine.decoder import Decoder
from factory.engine.networks import Models
from factory.errors import Damaged
from factory.pairs.prompt_to_prompt import ROWS, outcome_of, request_of
from factory.pairs.source import Made
from factory.pictures import Picture
from schemas.candidate import Scores
from schemas.recipe import Recipe

EQUAL_DB = 99.0
"""Stands for equal pictures, whose ratio has no bound."""


@torch.inference_mode()
def rescored(clip: ClipScorer, pair: ReleasedPair, size_px: int) -> Scores:
    """The four similarities of the stored JPEGs.

    The original scored before truncating to bytes and before JPEG, under float16 autocast: these
    differ a little, the scores of a pair made again less.
    """
    features = _features(clip, *pair.pictures(size_px))
    prompts = (pair.triplet.original_prompt, pair.triplet.edited_prompt)
    texts = [clip.text_features(prompt)[None] for prompt in prompts]
    row = similarities(features[:1], features[1:], *texts)[0].tolist()
    return Scores(**dict(zip(Scores.model_fields, row, strict=True)))


def differences(ours: Scores, pair: ReleasedPair) -> dict[str, float]:
    """Ours less the file's, by score."""
    theirs = pair.scores.model_dump()
    return {name: value - theirs[name] for name, value in ours.model_dump().items()}


def allowance(score: str, tolerance: float, scores: Scores) -> float:
    """How far a score may be off, where a picture's unit feature vector moved by `tolerance`.

    The direction is that of a difference of two such vectors: the nearer they are to each other, the
    further it turns.
    """
    if score != "clip_sim_dir":
        return tolerance
    apart = math.sqrt(max(2 - 2 * scores.clip_sim_image, 0))
    return tolerance / apart if apart else math.inf


@dataclass(frozen=True)
class Regenerated:
    """A released pair made again, compared with its JPEGs; index 0 is the original image."""

    pair: ReleasedPair
    made: Made
    released: tuple[Picture, Picture]
    psnr: tuple[float, float]
    """Decibels, at most 99."""
    cosine: tuple[float, float]
    """CLIP's between both versions of an image."""

    @property
    def off(self) -> dict[str, float]:
        """Scores of the pictures before rounding and JPEG, as the original took them, less the file's."""
        return differences(self.made.scores, self.pair)


class Regenerator:
    """Makes released pairs again, one at a time: the engine with the original's noise.

    Matched: one batch of the rows unconditional original and edited, conditional original and
    edited; the noise law; p and guidance from the file; Euler ancestral on `get_sigmas`; half
    precision where the recipe says so. Not matched, and so bits differ: fused attention, weights in
    float16 rather than autocast, rounding where the original truncates, torch's and CUDA's versions.
    """

    def __init__(self, models: Models, recipe: Recipe, noise: torch.device) -> None:
        self.models = models
        self.recipe = recipe
        side = recipe.size_px // models.autoencoder.factor
        self.batch = Batch(models, (side, side), ROWS, noise=ChainedNoise(noise))
        self.decoder = Decoder(models, 2)

    def __call__(self, pair: ReleasedPair) -> Regenerated:
        """Raises `Damaged` where the JPEGs are no pictures or the pair cannot be made."""
        released = pair.pictures(self.recipe.size_px)
        self.batch.admit(request_of(pair.draw, self.recipe))
        while not (done := self.batch.advance()):
            pass
        (result,) = self.decoder.finish([(slot.request, latents) for slot, latents in done])
        outcome = outcome_of(pair.draw, result)
        if not isinstance(outcome, Made):
            raise Damaged(f"{pair.folder}: seed {pair.metadata.seed}: {outcome.reason}")
        again = [
            _as_released(picture, pair, image)
            for image, picture in enumerate((outcome.original, outcome.edited))
        ]
        with torch.inference_mode():
            features = _features(self.models.clip, *again, *released)
        return Regenerated(
            pair,
            outcome,
            released,
            psnr=(psnr(again[0], released[0]), psnr(again[1], released[1])),
            cosine=(float(features[0] @ features[2]), float(features[1] @ features[3])),
        )


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal to noise ratio in decibels, at most 99."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return min(EQUAL_DB, 10 * float(np.log10(255**2 / error))) if error else EQUAL_DB


def _as_released(picture: Picture, pair: ReleasedPair, image: int) -> Picture:
    """Through the same JPEG as the released file, so that the codec's loss is on both sides."""
    sink = io.BytesIO()
    with Image.open(pair.file(image), formats=["JPEG"]) as released:
        assert isinstance(released, JpegImagePlugin.JpegImageFile)
        Image.fromarray(picture).save(
            sink,
            "JPEG",
            qtables=released.quantization,
            subsampling=JpegImagePlugin.get_sampling(released),
        )
    return np.asarray(Image.open(sink).convert("RGB"))


def _features(clip: ClipScorer, *pictures: Picture) -> Tensor:
    images = torch.from_numpy(np.stack(pictures)).to(clip.mean.device)
    return clip.image_features(images.permute(0, 3, 1, 2).to(clip.mean.dtype) / 255)
