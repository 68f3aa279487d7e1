"""Prompt-to-Prompt as InstructPix2Pix runs it: which rows share self-attention, and until when."""

from collections.abc import Sequence
from dataclasses import dataclass

from factory.engine.attention.layer import Layer


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
