"""All that a training has learnt: weights, their average, the optimiser; in one flat list of tensors."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from factory.errors import ModelError
from schemas.fit import Law
from trainer.average import Average
from trainer.spread import is_cut, put, whole


class State:
    """The trained parameters of a network with AdamW and the moving average."""

    def __init__(self, network: nn.Module, law: Law) -> None:
        self.law = law
        self.parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.is_cut = any(is_cut(p) for p in self.parameters.values())
        """Whether each worker holds a part of it only."""
        self.average = Average(self.parameters.items(), law.ema_decay)
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=law.learning_rate,
            betas=law.betas,
            weight_decay=law.weight_decay,
            # Left to itself it would go through cut tensors one by one.
            foreach=self.is_cut or None,
        )
        self.step = 0
        """Optimiser steps done."""

    def rate(self) -> float:
        """The learning rate of the coming step."""
        law = self.law
        up = min(1.0, (self.step + 1) / law.warm_up) if law.warm_up else 1.0
        down = 1.0
        if law.cool_down:
            down = min(1.0, (law.steps - self.step) / (law.cool_down * law.steps))
        return law.learning_rate * up * down

    def clip(self) -> float:
        """Scale the gradient down to the law's largest norm, if it has one; returns what it was."""
        limit = self.law.clip_norm or float("inf")
        return float(whole(nn.utils.clip_grad_norm_(self.parameters.values(), limit)))

    def advance(self) -> None:
        """Step and average with the gradients that are there."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.step)

    def tensors(self) -> dict[str, Tensor]:
        """Copies on the CPU, so that the training may go on while they are written.

        Whole, whoever trains them: where the state is cut, all workers call this.
        """
        return {name: whole(held).to("cpu", copy=True) for name, held in self._held()}

    def give(self) -> None:
        """This worker's part in another's `tensors`."""
        for _, held in self._held():
            whole(held)

    def _held(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.parameters.items():
            moments = self.optimiser.state[parameter]
            yield f"weight.{name}", parameter.detach()
            yield f"average.{name}", self.average.values[name]
            if moments:
                yield f"mean.{name}", moments["exp_avg"]
                yield f"square.{name}", moments["exp_avg_sq"]

    @torch.no_grad()
    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `tensors` were taken. Raises `ModelError` where they are another network's."""
        self.step = step
        for name, parameter in self.parameters.items():
            found = _taken(tensors, f"weight.{name}", parameter)
            put(found, parameter)
            put(_taken(tensors, f"average.{name}", parameter), self.average.values[name])
            if f"mean.{name}" in tensors:
                mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
                put(_taken(tensors, f"mean.{name}", parameter), mean)
                put(_taken(tensors, f"square.{name}", parameter), square)
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": mean,
                    "exp_avg_sq": square,
                }


def _taken(tensors: Mapping[str, Tensor], name: str, like: Any) -> Tensor:
    found = tensors.get(name)
    if found is None or found.shape != like.shape:
        got = "none" if found is None else list(found.shape)
        raise ModelError(
            f"checkpoint: {name} must be of shape {list(like.shape)}, got {got}; it is another "
            "network's"
        )
    return found
