"""The moving average of the weights."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential, warmed up, once per optimiser step.

    Source: InstructPix2Pix `LitEma`, min(decay, (1 + n) / (10 + n)); there it runs after every
    micro-batch, here n counts optimiser steps: the same law up to 22,498 of them, a longer memory after.
    diffusers' script: n / (9 + n), so that the first step's weights count alone.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        self.values: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step `step`, counted from 1."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self.parameters.values()), weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model holds its average."""
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._write(self.values)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
