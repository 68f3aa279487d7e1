"""Measure the miniature and write its training card."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from factory.console.config import load_config
from factory.miniature import world
from factory.miniature.oracle import ORACLE_VERSION
from factory.miniature.wilson import wilson
from factory.models.pin import pin
from factory.pairs.prompt_to_prompt import PromptToPrompt
from schemas.recipe import ModelSource, Recipe
from trainer.miniature.accuracy import clip_accuracy, render, sample, text_to_image_accuracy

BARS = {"t2i_accuracy": 0.95, "clip_top1_of_32": 0.95, "clip_top1_of_32_sampled": 0.90}
"""Least shares at which training is done."""
_STAGES = ("autoencoder", "diffusion", "clip")


def measure(source: PromptToPrompt) -> dict[str, float]:
    """Shares right over the held-out captions; the engine's recipe must share no attention."""
    captions = world.held_out_captions()
    sampled = sample(source, captions)
    clip = source.models.clip
    rendered_by = clip_accuracy(clip, render(captions))
    sampled_by = clip_accuracy(clip, sampled)
    figures = text_to_image_accuracy(sampled)
    for name in rendered_by:
        figures[f"clip_top1_{name}"] = rendered_by[name]
        figures[f"clip_top1_{name}_sampled"] = sampled_by[name]
    return {name: round(value, 4) for name, value in figures.items()}


def write_card(work: Path, out: Path, threads: int) -> dict[str, Any]:
    """Measure the weights under `out` and write `out/card.json`; returns the card."""
    recipe = sampling_recipe(out)
    figures = measure(PromptToPrompt(recipe, device="cpu", batch_pairs=8, threads=threads))
    count = len(world.held_out_captions())
    card = {
        "state": "trained" if all(figures[n] >= bar for n, bar in BARS.items()) else "half-trained",
        "figures": figures,
        "bars": BARS,
        "captions": count,
        "intervals_95": {
            name: [round(bound, 4) for bound in wilson(figures[name], count)] for name in BARS
        },
        "training": {stage: _history(work / f"{stage}.safetensors") for stage in _STAGES},
        "data": "scenes rendered from factory/miniature/world.py; 200 captions held out by hash",
        "sampler": {
            "solver": recipe.solver,
            "steps": recipe.steps,
            "guidance": recipe.guidance[0],
        },
        "oracle_version": ORACLE_VERSION,
        "files": recipe.text_to_image.files | recipe.clip.files,
    }
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def sampling_recipe(weights: Path) -> Recipe:
    """The preset's sampler on the weights of a folder, every image a sample of its own."""
    preset = load_config("miniature").recipe
    middle = sum(preset.guidance) / 2
    return pin(
        preset.model_copy(
            update={
                "text_to_image": ModelSource(source=str(weights / "text_to_image")),
                "clip": ModelSource(source=str(weights / "clip")),
                "attention": "none",
                "guidance": (middle, middle),
            }
        )
    )


def _history(state: Path) -> dict[str, float] | None:
    """Steps and seconds that a stage's state stands at; None where it is not at hand."""
    if not state.exists():
        return None
    with safe_open(state, "pt") as file:
        return {name: float(value) for name, value in file.metadata().items()}
