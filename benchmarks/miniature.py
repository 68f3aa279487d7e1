"""The miniature by its oracle: the oracle itself, the models, the gates, and what Prompt-to-Prompt does.

python benchmarks/miniature.py        (from the repository's root; over half an hour of a core)
"""

import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.record import machine, write_results  # noqa: E402
from factory.console.config import load_config  # noqa: E402
from factory.engine.batch import Batch  # noqa: E402
from factory.engine.decoder import Decoder  # noqa: E402
from factory.engine.request import Finished  # noqa: E402
from factory.miniature import world  # noqa: E402
from factory.miniature.calibration import accepted, figures, judge_all, judge_draws, triplet_sets  # noqa: E402
from factory.miniature.oracle import read  # noqa: E402
from factory.miniature.wilson import wilson  # noqa: E402
from factory.models.find import MINIATURE, placed_models  # noqa: E402
from factory.models.pin import pin  # noqa: E402
from factory.pairs.prompt_to_prompt import ROWS, PromptToPrompt, request_of  # noqa: E402
from factory.pairs.source import draws  # noqa: E402
from schemas.triplet import Triplet  # noqa: E402
from tests.factory.miniature.damage import (  # noqa: E402
    READABLE,
    UNREADABLE,
    is_right,
    to_picture,
)
from trainer.miniature.card import measure, sampling_recipe  # noqa: E402

THREADS = 1
SHARED = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Values of p that Prompt-to-Prompt is measured at."""


def oracle(count: int = 1000) -> dict[str, Any]:
    """Scenes under grain of 8/255 and JPEG 75 read right; noise, blank, blended pictures rejected."""
    rng, grains = random.Random(171), np.random.default_rng(171)
    damage = READABLE["grain of 8 and JPEG 75"]
    right = []
    for _ in range(count):
        scene = world.sample(rng)
        right.append(is_right(scene, to_picture(damage(scene, rng, grains))))
    rejected = {}
    for name, spoil in UNREADABLE.items():
        junk = [to_picture(spoil(world.sample(rng), rng, grains)) for _ in range(count // 5)]
        rejected[name] = float(np.mean([read(picture) is None for picture in junk]))
    return {"oracle_accuracy": float(np.mean(right)), "oracle_rejects": rejected}


def half_denoised(count: int = 96) -> float:
    """Share of pictures rejected that are latents at half the steps, decoded as they are."""
    recipe = sampling_recipe(MINIATURE)
    models = PromptToPrompt(recipe, device="cpu", threads=THREADS).engine.models
    side = recipe.size_px // models.autoencoder.factor
    batch, decoder = Batch(models, (side, side), 8 * ROWS), Decoder(models, 16)
    rejected = []
    for triplet in triplet_sets(count // 2)[0]:
        request = request_of(draws(recipe.model_copy(update={"candidates": 1}), triplet)[0], recipe)
        batch.admit(request)
        if batch.fits(request):
            continue
        for _ in range(recipe.steps // 2):
            batch.advance()
        for made in decoder.finish([(slot.request, batch.unit(slot)) for slot in batch.slots]):
            assert isinstance(made, Finished)
            rejected += [read(picture) is None for picture in made.pictures]
        batch.clear()
    return float(np.mean(rejected))


def with_more_sizes(triplets: Sequence[Triplet]) -> list[Triplet]:
    """All whose size changes and every second of each other kind: of sizes the fewest pass, so that a list
    which is to leave enough of every kind asks for more of them. What each kind's part comes to is this
    list's doing as well as the gates'.
    """
    met: Counter[str | None] = Counter()
    chosen = []
    for triplet in triplets:
        met[triplet.edit_kind] += 1
        if triplet.edit_kind == "size" or met[triplet.edit_kind] % 2:
            chosen.append(triplet)
    return chosen


def gates(count: int = 600) -> dict[str, Any]:
    """What the preset keeps of triplets that its gates were not chosen on."""
    config = load_config("miniature")
    engine = PromptToPrompt.for_compute(placed_models(pin(config.recipe)), config.compute)
    triplets = with_more_sizes(triplet_sets(count)[1])
    judged = judge_all(engine, engine.recipe, triplets)
    most = engine.recipe.keep.most
    found = figures(judged, engine.recipe.thresholds, most)
    kinds = defaultdict(list)
    for one in accepted(judged, engine.recipe.thresholds, most):
        kinds[one.kind].append(one.judgement.true)
    return {
        "accepted_true": found["accepted_true"],
        "accepted_true_95": found["accepted_true_95"],
        "true_before_gates": found["true_before_gates"],
        "passing": found["passing"],
        "gated_triplets_by_kind": dict(sorted(Counter(t.edit_kind for t in triplets).items())),
        "gated_candidates": found["candidates"],
        "accepted_pairs": found["accepted"],
        "part_of_accepted": found["part_of_accepted"],
        "accepted_true_by_kind": {k: round(float(np.mean(v)), 4) for k, v in sorted(kinds.items())},
    }


def prompt_to_prompt(count: int = 60) -> dict[str, Any]:
    """Pairs before gating whose rest stayed, with and without shared attention, on the same seeds."""
    config = load_config("miniature")
    engine = PromptToPrompt.for_compute(placed_models(pin(config.recipe)), config.compute)
    recipe = engine.recipe.model_copy(update={"candidates": 1})
    drawn = [draw for t in triplet_sets(count)[1] for draw in draws(recipe, t)]
    kept, done, true = {}, {}, {}
    for p in (0.0, *SHARED):  # p = 0 shares the noise only
        judged = judge_draws(engine, [replace(draw, p=p) for draw in drawn])
        kept[p] = float(np.mean([one.judgement.rest_kept for one in judged]))
        done[p] = float(np.mean([one.judgement.edit_done for one in judged]))
        true[p] = float(np.mean([one.judgement.true for one in judged]))
    best = max(SHARED, key=lambda p: kept[p])
    return {
        "kept_rest_p2p": kept[best],
        "kept_rest_p2p_95": [round(bound, 4) for bound in wilson(kept[best], len(drawn))],
        "kept_rest_p2p_at": best,
        "kept_rest_without": kept[0.0],
        "kept_rest_without_95": [round(bound, 4) for bound in wilson(kept[0.0], len(drawn))],
        "kept_ratio": round(kept[best] / kept[0.0], 3) if kept[0.0] else None,
        "kept_rest_over_p": kept,
        "edit_done_over_p": done,
        "true_over_p": true,
        "p2p_pairs": len(drawn),
    }


def main() -> None:
    where = machine()
    torch.set_num_threads(THREADS)
    found = oracle()
    found["oracle_rejects"]["latents at half the steps"] = half_denoised()
    found["oracle_rejects_junk"] = round(float(np.mean([*found["oracle_rejects"].values()])), 4)
    found |= measure(PromptToPrompt(sampling_recipe(MINIATURE), device="cpu", threads=THREADS))
    found |= gates()
    found |= prompt_to_prompt()
    print(write_results("miniature", found, where))


if __name__ == "__main__":
    main()
