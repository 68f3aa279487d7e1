"""A pair source without torch: small pictures and scores that follow from the draw alone."""

from collections.abc import Callable

import numpy as np

from factory import seeds
from factory.pairs.source import Made, NotMade
from schemas.candidate import Scores
from schemas.recipe import ModelSource, Recipe, Thresholds
from schemas.running.environment import Environment
from schemas.triplet import Triplet


class StubSource:
    """Counts what it makes; every seventh candidate fails."""

    def __init__(self, on_draw: Callable[[], None] | None = None):
        self.made: list[tuple[str, int]] = []
        self.on_draw = on_draw

    def pairs(self, draws):
        # Backwards, because a source may answer in any order.
        for draw in reversed(draws):
            if self.on_draw:
                self.on_draw()
            self.made.append((draw.triplet.triplet_id, draw.index))
            if draw.seed % 7 == 0:
                yield NotMade(draw, "planted", truncated=False)
                continue
            pixels = (np.abs(seeds.noise(draw.seed, "pixels", (2, 8, 8, 3))) * 60).astype(np.uint8)
            numbers = np.abs(seeds.noise(draw.seed, "scores", (4,))).clip(0, 1).tolist()
            scores = Scores(**dict(zip(Scores.model_fields, numbers, strict=True)))
            yield Made(draw, pixels[0], pixels[1], scores, truncated=False)

    def environment(self):
        return Environment(
            device="stub", wheels={}, batch_pairs=1, decode_pairs=1, threads=1, attention="none"
        )


def recipe(**fields) -> Recipe:
    """Twelve candidates over the stub; about a third pass the gates."""
    defaults = {
        "text_to_image": ModelSource(source="stub", files={"a": "0" * 64}),
        "clip": ModelSource(source="stub", files={"b": "1" * 64}),
        "candidates": 12,
        "thresholds": Thresholds(image=0.1, text=0.2, direction=0.2, borderline=0.01),
        "keep": {"most": 2},
        "size_px": 8,
        "unit_triplets": 2,
    }
    return Recipe.model_validate(defaults | fields)


def triplets(count: int) -> list[Triplet]:
    kinds = ("colour", "shape", None)
    return [
        Triplet(
            original_prompt=f"before {i}",
            edit_prompt=f"edit {i}",
            edited_prompt=f"after {i}",
            edit_kind=kinds[i % 3],
        )
        for i in range(count)
    ]
