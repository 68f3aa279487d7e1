"""What the engine is held against: the bare UNet, the original's algorithm, a plain diffusers loop."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from benchmarks.on_gpu.device_time import median_s, seconds_of, wait
from benchmarks.on_gpu.engine_model import DTYPE, FAMILY, Size, candidates
from factory.engine.batch import Batch
from factory.engine.decoder import Decoder
from factory.engine.networks import Models
from factory.engine.solvers.noise import hashed_noise
from factory.models.family import family_fields
from factory.pairs.prompt_to_prompt import ROWS, PromptToPrompt, request_of
from factory.pairs.source import Draw
from schemas.recipe import Recipe

_MODELS: Any = diffusers  # whose constructors carry no types

Left = Callable[[], float]
GUIDANCE = 7.5
"""Of the plain loop, which has one for all pairs."""
COMPARED_AFTER = 2
"""Steps, after which the original's algorithm and the engine are compared."""


@contextmanager
def plain_attention(unet: Any) -> Iterator[None]:
    """Inside, the network has diffusers' own attention, fused and without a route."""
    before = dict(unet.attn_processors)
    unet.set_attn_processor(AttnProcessor2_0())
    try:
        yield
    finally:
        unet.set_attn_processor(before)


@contextmanager
def memory_format(unet: Any, channels_last: bool) -> Iterator[None]:
    """Inside, weights and so activations lie with their channels last, if asked for."""
    if channels_last:
        unet.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        if channels_last:
            unet.to(memory_format=torch.contiguous_format)


@torch.inference_mode()
def bare_unet(
    unet: Any, size: Size, device: torch.device, left: Left, width: int, tokens: int
) -> float:
    """Rows a second of the network alone at the engine's shape; `width` and `tokens` are a prompt's."""
    rows, side = 4 * size.pairs, size.latent_side
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, side, side, generator=draws).to(device, DTYPE)
    context = torch.randn(rows, tokens, width, generator=draws).to(device, DTYPE)
    timesteps = torch.linspace(999, 0, rows, dtype=torch.float64).to(device)
    act = lambda: unet(x, timesteps, context, return_dict=False)  # noqa: E731
    return rows / median_s(act, device, size.enough_s / 4, left)


def original(engine: PromptToPrompt, size: Size, left: Left) -> dict[str, Any]:
    """InstructPix2Pix's algorithm: attention maps in memory, one pair at a time, decoded and scored.

    It is the slow reference of the engine's tests, in the benchmark's dtype and on its device.
    """
    # Here, so that nothing else of the benchmark needs the tests.
    from tests.factory.engine.reference import Parts, reference_latents, reference_pair
    from tests.factory.engine.reference_samplers import alphas_cumprod
    from tests.factory.engine.reference_scores import reference_scores

    models, device = engine.models, engine.device
    side, clip = size.latent_side, engine.models.clip
    parts = Parts(
        unet=models.unet,
        vae=models.autoencoder.network,
        text_encoder=models.text.encoder,
        tokenizer=models.text.tokenizer,
        alphas_cumprod=alphas_cumprod(family_fields(FAMILY)["scheduler"]),
    )

    def sampling(draw: Draw, steps: int) -> dict[str, Any]:
        def noise(purpose: str) -> Tensor:
            return hashed_noise(draw.seed, purpose, (4, side, side)).to(device)

        return {
            "p": draw.p,
            "guidance": draw.guidance,
            "steps": steps,
            "initial_noise": noise("start"),
            "step_noise": lambda step: noise(str(step)),
            "solver": "euler_ancestral",
        }

    def pair(draw: Draw, steps: int) -> None:
        prompts = draw.triplet.original_prompt, draw.triplet.edited_prompt
        before, after = reference_pair(parts, *prompts, **sampling(draw, steps))
        reference_scores(clip.model, clip.tokenize, before.float(), after.float(), *prompts)

    draw = candidates(engine.recipe, 1)[0]
    triplet = draw.triplet
    theirs = reference_latents(
        parts,
        triplet.original_prompt,
        triplet.edited_prompt,
        **sampling(draw, COMPARED_AFTER),
    )
    ours = _latents(engine, draw, COMPARED_AFTER)
    off = (ours - torch.stack(theirs)).norm() / torch.stack(theirs).norm()
    pair(draw, size.short_steps)
    steps = engine.recipe.steps
    taken = seconds_of(lambda: pair(draw, steps), device, size.enough_s / 2, left)
    return {
        "original_rows_per_s": round(4 * steps / statistics.median(taken), 2),
        "original_pair_s": [round(seconds, 4) for seconds in taken],
        "original_distance": round(float(off), 6),
    }


def _latents(engine: PromptToPrompt, draw: Draw, steps: int) -> Tensor:
    """A pair's latents (2, channel, height, width) by the engine's batch of one pair."""
    shape = engine.engine.resident.batch.shape
    batch = Batch(engine.models, (shape[1], shape[2]), ROWS)
    batch.admit(request_of(draw, engine.recipe.model_copy(update={"steps": steps})))
    while not (done := batch.advance()):
        pass
    return done[0][1]


class DiffusersLoop:
    """diffusers' own pipeline on the same models: no shared attention, one guidance for all pairs.

    Its latents are decoded and scored by the engine's decoder, so that both sides do the same there.
    """

    def __init__(self, models: Models, unet: Any, decode_pairs: int, recipe: Recipe) -> None:
        fields = family_fields(FAMILY)["scheduler"]
        self.pipeline = _MODELS.StableDiffusionPipeline(
            vae=models.autoencoder.network,
            text_encoder=models.text.encoder,
            tokenizer=models.text.tokenizer,
            unet=models.unet,
            scheduler=_MODELS.EulerAncestralDiscreteScheduler(**fields, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipeline.set_progress_bar_config(disable=True)
        # The network, or what torch.compile made of it.
        self.pipeline.unet = unet
        self.decoder = Decoder(models, 2 * decode_pairs)
        self.device = models.device
        self.recipe = recipe

    def __call__(self, draws: list[Draw], side: int, steps: int) -> None:
        """All pairs beside each other, from the noise that the engine gives them to scores."""
        pairs = [draw.triplet for draw in draws]
        prompts = [one.original_prompt for one in pairs] + [one.edited_prompt for one in pairs]
        noise = torch.stack([hashed_noise(draw.seed, "start", (4, side, side)) for draw in draws])
        latents = self.pipeline(
            prompts,
            height=8 * side,
            width=8 * side,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            latents=torch.cat([noise, noise]).to(self.device, DTYPE),
            output_type="latent",
        ).images
        both = latents.float().unflatten(0, (2, len(draws))).transpose(0, 1)
        requests = [request_of(draw, self.recipe) for draw in draws]
        self.decoder.finish(list(zip(requests, both, strict=True)))


def diffusers_loop(
    engine: PromptToPrompt,
    size: Size,
    pairs: int,
    left: Left,
    *,
    channels_last: bool = False,
    compiled: bool = False,
) -> Mapping[str, float]:
    """Rows a second of `DiffusersLoop`, and the seconds of its first, short round (compiling included)."""
    models, steps, device = engine.models, engine.recipe.steps, engine.device
    draws = candidates(engine.recipe, pairs)
    with plain_attention(models.unet), memory_format(models.unet, channels_last):
        unet = models.unet
        if compiled:
            unet = torch.compile(unet, dynamic=False, backend=size.compiler)
        loop = DiffusersLoop(models, unet, engine.decode_pairs, engine.recipe)
        begun = time.perf_counter()
        loop(draws, size.latent_side, size.short_steps)
        wait(device)
        first_s = time.perf_counter() - begun
        taken = seconds_of(
            lambda: loop(draws, size.latent_side, steps), device, size.enough_s, left
        )
    return {
        "rows_per_s": round(4 * pairs * steps / statistics.median(taken), 2),
        "first_s": round(first_s, 1),
    }
