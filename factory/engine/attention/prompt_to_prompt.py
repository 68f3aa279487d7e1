"""Prompt-to-Prompt: InstructPix2Pix's shared self-attention, and the original's edits of word maps."""

from collections.abc import Sequence
from dataclasses import dataclass

from factory.engine.attention.cross import CrossAttention
from factory.engine.attention.layer import Layer
from factory.engine.attention.local_blend import LocalBlend
from factory.engine.attention.words import words_of
from schemas.recipe import WordMaps


def shares_attention(p: float, step: int, steps: int) -> bool:
    """Whether step `step` (from 0) of `steps` is controlled: p > step / (steps - 1).

    As in the original, where one step divides by zero: here one step is controlled for p > 0.
    p = 0 controls none, p = 1 all but the last.
    """
    return p > step / max(steps - 1, 1)


@dataclass(frozen=True)
class SharedAttention:
    """Of a request of two latents, each with an unguided and a guided row: the second latent's rows look
    to the first one's. Both guidance halves are controlled, as in the original.
    """

    p: float
    """Share of the steps, 0..1."""

    def acts(self, layer: Layer) -> bool:
        """Everywhere, as in the original."""
        return True

    def route(self, step: int, steps: int) -> Sequence[int]:
        """As `Control`."""
        return (0, 1, 0, 1) if shares_attention(self.p, step, steps) else (0, 1, 2, 3)


def word_maps(
    asked: WordMaps, source_row: int, edited_row: int, source: str, target: str
) -> tuple[CrossAttention, LocalBlend | None]:
    """What a recipe asks for, of two rows that are told these."""
    new = set(words_of(target)) - set(words_of(source))
    cross = CrossAttention(
        source_row,
        edited_row,
        source,
        target,
        asked.words,
        asked.share,
        weights={**dict.fromkeys(new, asked.new_words), **asked.weights},
    )
    if not asked.blend:
        return cross, None
    threshold, scale = asked.blend_threshold, asked.blend_scale
    return cross, LocalBlend(
        source_row, edited_row, source, target, threshold=threshold, scale=scale
    )
