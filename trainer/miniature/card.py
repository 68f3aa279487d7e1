"""Measure the miniature by its oracle and write its training card."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from factory.config import load_config
from factory.engine.engine import Engine
from factory.miniature import world
from factory.miniature.oracle import ATTRIBUTES, ORACLE_VERSION, read
from factory.pair_source import Draw, Made, Picture
from factory.pinning import pin
from factory.seeds import candidate_seed
from schemas.recipe import ModelSource, Recipe
from schemas.triplet import Triplet

BAR = 0.95
"""Share of text-to-image samples with every attribute right at which training is done."""


def write_card(work: Path, out: Path, threads: int) -> dict[str, Any]:
    """Sample the held-out captions, read them back, write `out/card.json`; returns the card."""
    recipe = _recipe(out)
    engine = Engine(recipe, device="cpu", batch_pairs=8, threads=threads)
    figures = text_to_image_accuracy(engine, world.held_out_captions())
    low, high = wilson(figures["t2i_accuracy"], figures["samples"])
    card = {
        "state": "trained" if figures["t2i_accuracy"] >= BAR else "half-trained",
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "t2i_interval_95": [round(low, 4), round(high, 4)],
        "training": {stage: _steps(work / f"{stage}.safetensors") for stage in _STAGES},
        "data": "scenes rendered from factory/miniature/world.py; 200 captions held out by hash",
        "sampler": {
            "solver": recipe.solver,
            "steps": recipe.steps,
            "guidance": recipe.guidance[0],
        },
        "oracle_version": ORACLE_VERSION,
    }
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


_STAGES = ("autoencoder", "diffusion", "clip")


def _recipe(out: Path) -> Recipe:
    """The preset's sampler on the weights under `out`, every image a sample of its own."""
    preset = load_config("miniature").recipe
    middle = sum(preset.guidance) / 2
    return pin(
        preset.model_copy(
            update={
                "text_to_image": ModelSource(source=str(out / "text_to_image")),
                "clip": ModelSource(source=str(out / "clip")),
                "attention": "none",
                "guidance": (middle, middle),
            }
        )
    )


def text_to_image_accuracy(engine: Engine, captions: list[str]) -> dict[str, float]:
    """Share of samples that the oracle reads as their caption says: all attributes, and each."""
    pictures = _sample(engine, captions)
    readings = {caption: read(picture) for caption, picture in pictures.items()}
    right = dict.fromkeys(ATTRIBUTES, 0)
    whole = unreadable = 0
    for caption, reading in readings.items():
        scene = world.parse_caption(caption)
        if reading is None:
            unreadable += 1
            continue
        agreeing = [n for n in ATTRIBUTES if getattr(reading, n) == getattr(scene, n)]
        whole += len(agreeing) == len(ATTRIBUTES)
        for name in agreeing:
            right[name] += 1
    count = len(captions)
    return {
        "t2i_accuracy": whole / count,
        "unreadable": unreadable / count,
        **{f"{name}_right": number / count for name, number in right.items()},
        "samples": count,
    }


def _sample(engine: Engine, captions: list[str]) -> dict[str, Picture]:
    """One picture per caption, seeds fixed; captions go through the engine two by two."""
    guidance = engine.recipe.guidance[0]
    draws = []
    for first, second in zip(captions[::2], captions[1::2], strict=True):
        triplet = Triplet(original_prompt=first, edit_prompt="none", edited_prompt=second)
        seed = candidate_seed(0, triplet.triplet_id, 0)
        draws.append(Draw(triplet=triplet, index=0, seed=seed, p=0.0, guidance=guidance))
    pictures: dict[str, Picture] = {}
    for outcome in engine.pairs(draws):
        if isinstance(outcome, Made):
            pictures[outcome.draw.triplet.original_prompt] = outcome.original
            pictures[outcome.draw.triplet.edited_prompt] = outcome.edited
    return pictures


def wilson(share: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share. Source: Wilson 1927."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return centre - half, centre + half


def _steps(state: Path) -> int | None:
    """Steps that a stage's state stands at; None where it is not at hand."""
    if not state.exists():
        return None
    with safe_open(state, "pt") as file:
        return int(file.metadata()["step"])
