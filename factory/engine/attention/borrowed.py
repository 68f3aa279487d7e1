"""Rows that go by another's queries and keys, or features, in some layers and the first steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from factory.engine.attention.layer import Layer


@dataclass(frozen=True)
class Borrowed:
    """As `Control`; Plug-and-Play's injection, and the original Prompt-to-Prompt's self-attention.

    Source: Tumanyan et al. 2023 (arXiv:2211.12572), section 4; in step i (from 0) of n where
    i < int(share x n), as pnp-diffusers and google/prompt-to-prompt count.
    """

    lenders: tuple[int, ...]
    """For each row of the request the one that it borrows from; itself where it does not."""
    share: float
    """Of the steps, 0..1."""
    layers: tuple[str, ...] = ("down", "mid", "up")
    """Names as in `Layer`."""
    least_scale: int = 1
    """Layers that are finer are left out."""

    def acts(self, layer: Layer) -> bool:
        """As `Control`."""
        return layer.within(self.layers) and layer.scale >= self.least_scale

    def route(self, step: int, steps: int) -> Sequence[int]:
        """As `Control`."""
        on = step < int(self.share * steps)
        return self.lenders if on else range(len(self.lenders))
