"""The tiny random family and a random CLIP as folders, and recipes over them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from factory import seeds
from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_models
from factory.engine.request import Request
from factory.pairs.prompt_to_prompt import ROWS, request_of
from factory.pairs.source import Draw
from schemas.recipe import ModelSource, Recipe, Thresholds
from schemas.triplet import Triplet
from tests.factory.engine.reference import Parts, reference_latents
from tests.factory.engine.tiny import IMAGE_SIDE, save_tiny
from trainer.miniature.clip import build_clip, save_clip

CAPTIONS = (
    ("a small red circle on a blue background", "a small green circle on a blue background"),
    ("a large white star on a black background", "a large white star on a red background"),
    ("a small blue cross on a white background", "a large blue cross on a white background"),
    ("a large red square on a green background", "a large red star on a green background"),
)


def save_family(folder: Path, prediction_type: str = "epsilon") -> Path:
    """A text-to-image folder and a CLIP folder below `folder`."""
    save_tiny(folder / "text_to_image", prediction_type=prediction_type)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "text_to_image" / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clip = build_clip(len(tokenizer))
    save_clip(clip, len(tokenizer), folder / "clip")
    return folder


def recipe(folder: Path, **fields: object) -> Recipe:
    """A recipe over a saved family; lets everything through."""
    defaults: dict[str, object] = {
        "text_to_image": ModelSource(source=str(folder / "text_to_image")),
        "clip": ModelSource(source=str(folder / "clip")),
        "dtype": "float64",
        "steps": 5,
        "candidates": 2,
        "thresholds": Thresholds(image=-1, text=-1, direction=-1),
        "size_px": IMAGE_SIDE,
    }
    return Recipe.model_validate(defaults | fields)


def draw(captions: tuple[str, str], seed: int, p: float = 0.5, guidance: float = 4.0) -> Draw:
    """A candidate with everything chosen by the test."""
    triplet = Triplet(original_prompt=captions[0], edit_prompt="e", edited_prompt=captions[1])
    return Draw(triplet=triplet, index=0, seed=seed, p=p, guidance=guidance)


def sample(
    of: Recipe, draws: list[Draw], pairs: int, *, apart: int = 0, first_place: int = 0
) -> dict[int, torch.Tensor]:
    """Latents of each draw by its seed, from one batch; draw k is admitted `apart` steps after k-1."""
    models = load_models(of, torch.device("cpu"))
    side = of.size_px // models.autoencoder.factor
    batch = Batch(models, (side, side), ROWS * pairs)
    requests = [request_of(draw, of) for draw in draws]
    return run(batch, requests, apart=apart, first_row=ROWS * first_place)


def run(
    batch: Batch, requests: Sequence[Request], *, apart: int = 0, first_row: int = 0
) -> dict[int, torch.Tensor]:
    """Latents of each request by its seed; request k is admitted `apart` steps after k-1, if it fits."""
    # Rows are given out from the front of this list.
    batch._free = [*batch._free[first_row:], *batch._free[:first_row]]
    waiting, done, step = list(requests), dict[int, torch.Tensor](), 0
    while len(done) < len(requests):
        while waiting and batch.fits(waiting[0]) and step >= apart * (len(requests) - len(waiting)):
            batch.admit(waiting.pop(0))
        for slot, latents in batch.advance():
            done[slot.request.seed] = latents
        step += 1
    return done


def by_reference(
    parts: Parts,
    candidate: Draw,
    of: Recipe,
    make: Callable[..., Sequence[torch.Tensor]] = reference_latents,
) -> Sequence[torch.Tensor]:
    """What the slow reference makes of a draw, on the noise that the engine draws for it."""
    side = of.size_px // 2 ** (len(parts.vae.config.block_out_channels) - 1)

    def noise(purpose: str) -> torch.Tensor:
        drawn = seeds.noise(candidate.seed, purpose, (4, side, side))
        return torch.from_numpy(drawn).to(parts.unet.dtype)

    return make(
        parts,
        candidate.triplet.original_prompt,
        candidate.triplet.edited_prompt,
        p=candidate.p,
        guidance=candidate.guidance,
        steps=of.steps,
        initial_noise=noise("start"),
        step_noise=lambda step: noise(str(step)),
        solver=of.solver,
    )
