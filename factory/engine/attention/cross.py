"""Prompt-to-Prompt's edits of cross-attention, without a map.

An edited map is a sum of columns of the source's map and of the own one, and attention is linear in the
columns of its map, so that they move to the values:

    (A_source P + A_own diag(b)) V = A_source (P V) + A_own (b V)

which is two calls of any fused attention. Replace, refine, reweight and their blend over time are all such
P and b. Source of the edits: Hertz et al. 2022 (arXiv:2208.01626), section 3, as google/prompt-to-prompt
codes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from factory.engine.attention import words
from factory.engine.staging import ahead_into


@dataclass(frozen=True, eq=False)
class MapColumns:
    """What an edited map is made of."""

    source: Tensor
    """P: (source token, target token), what each column of the source's map gives to each of the edited."""
    own: Tensor
    """b: (target token,), what stays of each column of the own map."""


@dataclass(frozen=True)
class CrossAttention:
    """One row's cross-attention takes the map of another row of its request, word by word."""

    source_row: int
    edited_row: int
    source: str
    """What the source row is told."""
    target: str
    """What the edited row is told."""
    kind: Literal["auto", "replace", "refine"] = "auto"
    """`replace` is for captions of as many words, `refine` for others; `auto` takes what fits."""
    share: float = 0.8
    """Of the steps, from the first, 0..1, in which maps are taken."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of single words of the target, another."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """By what the taken maps of words of the target are multiplied; they are not normalised after."""


class EditedMap:
    """The columns of an edited map, step by step."""

    def __init__(self, asked: CrossAttention, tokenizer: Any) -> None:
        source, target = asked.source, asked.target
        fits = asked.kind == "auto" and words.replaces(source, target)
        if asked.kind == "replace" or fits:
            mapper = words.replaced(tokenizer, source, target)
            own = torch.zeros(len(mapper), dtype=mapper.dtype)
        else:
            mapper, own = words.refined(tokenizer, source, target)

        def by_token(values: Mapping[str, float], usual: float) -> Tensor:
            found = torch.full_like(own, usual)
            for word, value in values.items():
                for number, one in enumerate(words.words_of(target)):
                    if one == word.lower():
                        found[words.word_tokens(tokenizer, target, number)] = value
            return found

        weight = by_token(asked.weights, 1.0)
        self.source = mapper * weight
        self.own = own * weight
        self.until = by_token(asked.shares, asked.share)
        """Share of the steps for each token of the target, float64."""
        self._known: dict[tuple[bool, ...], MapColumns] = {}

    def columns(self, step: int, steps: int) -> MapColumns:
        """At step `step` (from 0) of `steps`: taken where step < int(share x (steps + 1)), as there.

        The same object as long as nothing changes.
        """
        on = step < (self.until * (steps + 1)).floor()
        key = tuple(on.tolist())
        if key not in self._known:
            taken = on.to(self.source.dtype)
            own = self.own * taken + (1 - taken)
            self._known[key] = MapColumns(self.source * taken, own)
        return self._known[key]


class CrossState:
    """Of a batch of so many rows: whose map each takes, and the columns of it, on its device."""

    def __init__(self, rows: int, tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        self.source_row = torch.arange(rows, device=device)
        """int64 (row,): itself where nothing is taken."""
        self.source = torch.zeros(rows, tokens, tokens, dtype=dtype, device=device)
        self.own = torch.ones(rows, tokens, 1, dtype=dtype, device=device)
        self.words = torch.zeros(rows, tokens, 1, dtype=dtype, device=device)
        """Of local blends: 1 at the tokens whose maps are summed."""
        self._columns: dict[int, MapColumns] = {}

    def take(self, place: int, source_place: int, columns: MapColumns) -> None:
        """Row `place` takes these columns of another's map."""
        if self._columns.get(place) is not columns:
            self._columns[place] = columns
            self.source_row[place].fill_(source_place)
            ahead_into(self.source[place], columns.source)
            ahead_into(self.own[place], columns.own[:, None])

    def leave(self, places: Sequence[int]) -> None:
        """These rows keep to themselves again."""
        for place in places:
            self._columns.pop(place, None)
            self.source_row[place].fill_(place)
            self.source[place].zero_()
            self.own[place].fill_(1)
            self.words[place].zero_()
