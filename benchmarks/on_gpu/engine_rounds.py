"""The product's engine as the benchmark on a GPU runs it: rounds, bytes, idle time, decoding."""

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.on_gpu.device_time import busy_and_wall, median_s, waits_in
from benchmarks.on_gpu.engine_model import Size, candidates
from factory.engine.batch import Batch
from factory.engine.clip_scorer import similarities
from factory.engine.decoder import Decoder, to_unit
from factory.engine.engine import Engine
from factory.pairs.prompt_to_prompt import ROWS, PromptToPrompt, request_of
from factory.pairs.source import Draw, Made, NotMade

PROFILED_STEPS = 3
Left = Callable[[], float]
"""Seconds until the benchmark must end."""


def reshaped(engine: PromptToPrompt, pairs: int, steps: int) -> PromptToPrompt:
    """The same models with another batch size or number of steps; of two only one may run at a time."""
    other = copy.copy(engine)
    other.recipe = engine.recipe.model_copy(update={"steps": steps})
    other.batch_pairs = pairs
    other.engine = Engine(
        engine.models,
        (other.recipe.size_px, other.recipe.size_px),
        rows=ROWS * pairs,
        decode_pictures=2 * engine.decode_pairs,
        threads=engine.threads,
    )
    return other


def made(engine: PromptToPrompt, draws: Sequence[Draw]) -> dict[int, Made]:
    """Every pair of these draws, by its seed. Raises `RuntimeError` where one could not be made."""
    outcomes = list(engine.pairs(draws))
    for outcome in outcomes:
        if isinstance(outcome, NotMade):
            raise RuntimeError(f"a pair was not made: {outcome.reason}")
    return {one.draw.seed: one for one in outcomes if isinstance(one, Made)}


def engine_rows(
    engine: PromptToPrompt, size: Size, pairs: int, left: Left, least: int = 3
) -> dict[str, Any]:
    """Rows a second from noise to pictures and scores, and the seconds of the rounds of it.

    A round is as many pairs as the batch holds, counted while others wait to take their places, as in a
    run. At least `least` rounds are asked for at once, fewer where the time is short. A pair that could not
    be made took its time all the same, and is told of.
    """
    steps = engine.recipe.steps
    draws = candidates(engine.recipe, pairs)
    short = reshaped(engine, pairs, size.short_steps)
    list(short.pairs(draws))
    begun = time.perf_counter()
    list(short.pairs(draws))
    expected_s = (time.perf_counter() - begun) * steps / size.short_steps
    count = max(least, min(50, math.ceil(size.enough_s / expected_s)))
    count = max(1, min(count, int(left() / expected_s) - 1))
    taken, reasons = run_rounds(reshaped(engine, pairs, steps), draws, count)
    return {
        "not_made": len(reasons),
        "not_made_reasons": sorted(set(reasons)),
        "rows_per_s": round(4 * pairs * steps / statistics.median(taken), 2),
        "round_s": [round(seconds, 4) for seconds in taken],
    }


def run_rounds(
    engine: PromptToPrompt, draws: Sequence[Draw], count: int
) -> tuple[list[float], list[str]]:
    """Seconds of `count` rounds after a first one, which fills the batch: from one's end to the next one's.

    And of the pairs that could not be made the reasons.
    """
    ends, reasons = [], []
    for number, outcome in enumerate(engine.pairs([*draws] * (1 + count)), 1):
        if isinstance(outcome, NotMade):
            reasons.append(outcome.reason)
        if number % len(draws) == 0:
            ends.append(time.perf_counter())
    return [end - begin for begin, end in pairwise(ends)], reasons


def bitwise(engine: PromptToPrompt, size: Size) -> dict[str, Any]:
    """Whether the same pairs have the same bytes and scores again, in another order, beside other mates
    and alone, at one batch shape. Where they have not, how far they are apart."""
    short = reshaped(engine, size.pairs, size.short_steps)
    draws = candidates(engine.recipe, size.pairs)
    some = draws[: max(2, size.pairs // 8)]
    others = candidates(engine.recipe, size.pairs - len(some), first=size.pairs)
    first = made(short, draws)
    ways: dict[str, Callable[[], dict[int, Made]]] = {
        "repeats": lambda: made(short, draws),
        "order": lambda: made(short, draws[::-1]),
        "mates": lambda: made(short, [*others, *some]),
        "alone": lambda: {d.seed: made(short, [d])[d.seed] for d in some},
    }
    figures: dict[str, Any] = {}
    for way, make in ways.items():
        again = make()
        apart = [distances(first[seed], again[seed]) for seed in first.keys() & again.keys()]
        figures[f"{way}_bitwise"] = all(one == (0, 0.0) for one in apart)
        figures[f"{way}_differences"] = {
            "pairs": sum(one != (0, 0.0) for one in apart),
            "of": len(apart),
            "largest_pixel": max(one[0] for one in apart),
            "largest_score": max(one[1] for one in apart),
        }
    seen = {one.original.tobytes() + one.edited.tobytes() for one in first.values()}
    figures["pictures_differ"] = len(seen) == len(first) and all(
        (one.original != one.edited).any() for one in first.values()
    )
    return figures


def distances(one: Made, other: Made) -> tuple[int, float]:
    """The largest difference of two pairs' pixels (of 255), and of their scores."""
    pixels = [(one.original, other.original), (one.edited, other.edited)]
    largest = max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in pixels)
    scores = [one.scores.model_dump(), other.scores.model_dump()]
    return largest, max(abs(scores[0][key] - scores[1][key]) for key in scores[0])


def denoising(engine: PromptToPrompt, size: Size, left: Left) -> dict[str, Any]:
    """A step of a full batch without decoding, its idle share, and where it waits for the device."""
    draws = candidates(engine.recipe, size.pairs)
    requests = [request_of(draw, engine.recipe) for draw in draws]
    side = size.latent_side
    batch = Batch(engine.models, (side, side), ROWS * size.pairs)

    def step() -> None:
        # All leave at once, so that all come at once.
        if not batch.slots:
            for request in requests:
                batch.admit(request)
        batch.advance()

    # As many steps as a candidate has, since only the first of them share attention.
    step_s = median_s(step, engine.device, size.enough_s, left)
    batch.clear()
    busy_and_wall(step, engine.device)  # admission, and the profiler's own start

    def steps() -> None:
        for _ in range(PROFILED_STEPS):
            step()

    busy, wall = busy_and_wall(steps, engine.device)
    return {
        "step_ms": round(1e3 * step_s, 3),
        "denoising_rows_per_s": round(4 * size.pairs / step_s, 2),
        "step_kernels_ms": round(1e3 * busy / PROFILED_STEPS, 3),
        "denoising_idle_share": round(1 - busy / wall, 4),
        "waits_in_step": waits_in(step, engine.device),
    }


def idle(engine: PromptToPrompt, size: Size) -> dict[str, float]:
    """The share of two rounds, from the first pair's noise to the last one's scores, in which nothing ran
    on the device; the first round is decoded beside the second one's steps, where anything is.
    """
    whole = reshaped(engine, size.pairs, engine.recipe.steps)
    draws = candidates(engine.recipe, size.pairs)
    busy, wall = busy_and_wall(lambda: list(whole.pairs([*draws, *draws])), engine.device)
    return {"idle_share": round(1 - busy / wall, 4)}


@torch.inference_mode()
def decoding(engine: PromptToPrompt, size: Size, left: Left) -> dict[str, Any]:
    """What finished latents cost a pair: the autoencoder, the scores, all of it with copies to the host."""
    models, pairs, device = engine.models, engine.decode_pairs, engine.device
    decoder = Decoder(models, 2 * pairs)
    draws = candidates(engine.recipe, pairs)
    side = size.latent_side
    noise = torch.Generator().manual_seed(0)
    latents = torch.randn(pairs, 2, 4, side, side, generator=noise).to(device)
    finished = list(zip([request_of(d, engine.recipe) for d in draws], latents, strict=True))
    texts = torch.stack([decoder._text(d.triplet.original_prompt) for d in draws])
    images = to_unit(decoder.decode(latents.flatten(0, 1)))

    def score() -> None:
        features = models.clip.image_features(images).unflatten(0, (pairs, 2))
        similarities(features[:, 0], features[:, 1], texts, texts)

    def ms_a_pair(act: Callable[[], object]) -> float:
        return round(1e3 * median_s(act, device, size.enough_s / 8, left) / pairs, 3)

    found = {
        "decode_ms": ms_a_pair(lambda: decoder.decode(latents.flatten(0, 1))),
        "score_ms": ms_a_pair(score),
        "finish_ms": ms_a_pair(lambda: decoder.finish(finished)),
    }
    busy, wall = busy_and_wall(lambda: decoder.finish(finished), device)
    return found | {"decoding_idle_share": round(1 - busy / wall, 4)}
