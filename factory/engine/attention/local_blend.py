"""Prompt-to-Prompt's local blend: what lies away from the words that change stays as it was.

Source: google/prompt-to-prompt, `LocalBlend`: the maps of the words, summed over all steps so far, spread
by a maximum over 3 x 3 positions, over their greatest value; where either picture's passes the threshold,
the edit counts.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from factory.engine.attention.words import word_tokens, words_of


@dataclass(frozen=True)
class LocalBlend:
    """Of a request of two latents: the second one is the first one's away from the words."""

    source_row: int
    edited_row: int
    source: str
    """What the source row is told; the maps of the words count in which the two differ."""
    target: str
    """What the edited row is told."""
    threshold: float = 0.3
    """Least share of the greatest value, 0..1."""
    start: float = 0.2
    """Share of the steps before the first blend; the original's first version had 0."""
    scale: int = 4
    """Of the layers whose maps count: 16 x 16 positions at 64 x 64 latents."""

    def mask(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Bool (height, width) of a latent's `size`, of the sums (2, height, width) of both rows' maps.

        True everywhere where neither row has a word that counts.
        """
        spread = F.max_pool2d(maps[:, None], 3, 1, 1)
        spread = F.interpolate(spread, size=size)[:, 0]
        most = spread.amax((1, 2), keepdim=True)
        share = spread / most.clamp(min=torch.finfo(most.dtype).tiny)
        return (share > self.threshold).any(0) | (most == 0).all()

    def blends(self, step: int, steps: int) -> bool:
        """Whether it acts after step `step` (from 0) of `steps`."""
        return step + 1 > int(self.start * steps)

    def words(self, tokenizer: Any) -> Tensor:
        """(2, token): 1 at the tokens whose maps count, of the source row and of the edited one.

        Those of words that have no partner where the two are laid side by side, so that of two colours that
        change places both count.
        """
        old, new = words_of(self.source), words_of(self.target)
        found = torch.zeros(2, int(tokenizer.model_max_length))
        for kind, *spans in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind == "equal":
                continue
            for row, (prompt, span) in enumerate(
                ((self.source, range(*spans[:2])), (self.target, range(*spans[2:])))
            ):
                for number in span:
                    found[row, word_tokens(tokenizer, prompt, number)] = 1
        return found
