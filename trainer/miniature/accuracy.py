"""How good the miniature's models are, by its oracle and by its held-out captions."""

import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from factory.engine.clip_scorer import ClipScorer
from factory.miniature import world
from factory.miniature.oracle import ATTRIBUTES, read
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.source import Draw, Made
from factory.pictures import Picture
from factory.seeds import candidate_seed
from schemas.triplet import Triplet

CHOICES = 32
"""Captions that CLIP chooses among."""


def sample(source: PromptToPrompt, captions: Sequence[str]) -> dict[str, Picture]:
    """One picture per caption, seeds fixed; captions go through the source two by two."""
    guidance = sum(source.recipe.guidance) / 2
    draws = []
    for first, second in zip(captions[::2], captions[1::2], strict=True):
        triplet = Triplet(original_prompt=first, edit_prompt="none", edited_prompt=second)
        seed = candidate_seed(0, triplet.triplet_id, 0)
        draws.append(Draw(triplet=triplet, index=0, seed=seed, p=0.0, guidance=guidance))
    pictures: dict[str, Picture] = {}
    for outcome in source.pairs(draws):
        if isinstance(outcome, Made):
            pictures[outcome.draw.triplet.original_prompt] = outcome.original
            pictures[outcome.draw.triplet.edited_prompt] = outcome.edited
    return pictures


def render(captions: Sequence[str]) -> dict[str, Picture]:
    """Each caption's scene as the world draws it, at a place of its own."""
    rng = random.Random("renders")
    return {c: world.render(world.place(world.parse_caption(c), rng)) for c in captions}


def text_to_image_accuracy(pictures: Mapping[str, Picture]) -> dict[str, float]:
    """Share of pictures that the oracle reads as their caption says: all attributes, and each."""
    right = dict.fromkeys(ATTRIBUTES, 0)
    whole = unreadable = 0
    for caption, picture in pictures.items():
        scene, reading = world.parse_caption(caption), read(picture)
        if reading is None:
            unreadable += 1
            continue
        agreeing = [n for n in ATTRIBUTES if getattr(reading, n) == getattr(scene, n)]
        whole += len(agreeing) == len(ATTRIBUTES)
        for name in agreeing:
            right[name] += 1
    count = len(pictures)
    return {
        "t2i_accuracy": whole / count,
        "unreadable": unreadable / count,
        **{f"{name}_right": number / count for name, number in right.items()},
    }


def others(caption: str) -> list[str]:
    """`CHOICES - 1` other captions, drawn evenly from the whole world."""
    rng = random.Random(f"others {caption}")
    captions = [c for scene in world.all_scenes() if (c := world.caption(scene)) != caption]
    return rng.sample(captions, CHOICES - 1)


def neighbours(caption: str) -> list[str]:
    """Every caption that differs in one attribute: 20."""
    own = world.parse_caption(caption)

    def differences(scene: world.Scene) -> int:
        return sum(getattr(scene, name) != getattr(own, name) for name in ATTRIBUTES)

    return [world.caption(scene) for scene in world.all_scenes() if differences(scene) == 1]


@torch.inference_mode()
def clip_accuracy(clip: ClipScorer, pictures: Mapping[str, Picture]) -> dict[str, float]:
    """How often a picture is nearest to its own caption, among random others and among neighbours."""
    known: dict[str, Tensor] = {}
    right = {"of_32": 0, "of_neighbours": 0}
    for caption, picture in pictures.items():
        image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        feature = clip.image_features(image)[0]
        for name, rivals in (("of_32", others(caption)), ("of_neighbours", neighbours(caption))):
            for text in (caption, *rivals):
                if text not in known:
                    known[text] = clip.text_features(text)
            own = feature @ known[caption]
            right[name] += bool(own > max(feature @ known[rival] for rival in rivals))
    return {name: count / len(pictures) for name, count in right.items()}
