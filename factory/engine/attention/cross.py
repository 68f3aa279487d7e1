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
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from factory.engine.attention import words


@dataclass(frozen=True, eq=False)
class Columns:
    """What an edited map is made of."""

    source: Tensor
    """P: (source token, target token), what each column of the source's map gives to each of the edited."""
    own: Tensor
    """b: (target token,), what stays of each column of the own map."""


@dataclass(frozen=True, eq=False)
class CrossAttention:
    """One row's cross-attention takes the map of another row of its request, word by word.

    `replace` is for captions of as many words, `refine` for others; `auto` takes what fits.
    """

    source_row: int
    edited_row: int
    source: str
    """What the source row is told."""
    target: str
    """What the edited row is told."""
    tokenizer: Any
    kind: Literal["auto", "replace", "refine"] = "auto"
    share: float = 0.8
    """Of the steps, from the first, 0..1, in which maps are taken."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of single words of the target, another."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """By what the taken maps of words of the target are multiplied; they are not normalised after."""

    @cached_property
    def taken(self) -> tuple[Tensor, Tensor]:
        """The mapper and what stays of the own map, of a step that is controlled throughout."""
        fits = words.replaces(self.source, self.target)
        if self.kind == "replace" or (self.kind == "auto" and fits):
            mapper = words.replaced(self.tokenizer, self.source, self.target)
            own = torch.zeros(len(mapper), dtype=mapper.dtype)
        else:
            mapper, own = words.refined(self.tokenizer, self.source, self.target)
        weight = torch.ones_like(own)
        for place, value in self._by_token(self.weights):
            weight[place] = value
        return mapper * weight, own * weight

    @cached_property
    def until(self) -> Tensor:
        """Share of the steps for each token of the target, float64."""
        until = torch.full_like(self.taken[1], self.share)
        for place, value in self._by_token(self.shares):
            until[place] = value
        return until

    def _by_token(self, values: Mapping[str, float]) -> list[tuple[int, float]]:
        told = words.words_of(self.target)
        return [
            (place, value)
            for word, value in values.items()
            for number, one in enumerate(told)
            if one == word.lower()
            for place in words.word_tokens(self.tokenizer, self.target, number)
        ]

    @cached_property
    def _known(self) -> dict[tuple[bool, ...], Columns]:
        return {}

    def columns(self, step: int, steps: int) -> Columns:
        """At step `step` (from 0) of `steps`: taken where step < int(share x (steps + 1)), as there.

        The same object as long as nothing changes.
        """
        on = step < (self.until * (steps + 1)).floor()
        key = tuple(on.tolist())
        if key not in self._known:
            mapper, own = self.taken
            taken = on.to(mapper.dtype)
            self._known[key] = Columns(mapper * taken, own * taken + (1 - taken))
        return self._known[key]


class CrossState:
    """Of a batch of so many rows: whose map each takes, and the columns of it, on its device."""

    def __init__(self, rows: int, tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        self.source_row = torch.arange(rows, device=device)
        """int64 (row,): itself where nothing is taken."""
        self.source = torch.zeros(rows, tokens, tokens, dtype=dtype, device=device)
        self.own = torch.ones(rows, tokens, 1, dtype=dtype, device=device)
        self.words = torch.zeros(rows, tokens, 1, dtype=dtype, device=device)
        """Of `WordMaps`: the tokens whose maps are summed."""
        self._columns: dict[int, Columns] = {}

    def take(self, place: int, source_place: int, columns: Columns) -> None:
        """Row `place` takes these columns of another's map."""
        if self._columns.get(place) is not columns:
            self._columns[place] = columns
            self.source_row[place] = source_place
            self.source[place] = columns.source.to(self.source)
            self.own[place] = columns.own[:, None].to(self.own)

    def leave(self, places: Sequence[int]) -> None:
        """These rows keep to themselves again."""
        for place in places:
            self._columns.pop(place, None)
            self.source_row[place] = place
            self.source[place], self.own[place], self.words[place] = 0, 1, 0
