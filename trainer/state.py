"""All that a training has learnt: weights, their average, the optimiser; in one flat list of tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from factory.errors import ModelError
from schemas.fit import Law
from trainer.average import Average
from trainer.lora import trained


class State:
    """The trained parameters of a network with AdamW and the moving average."""

    def __init__(self, network: nn.Module, law: Law) -> None:
        self.law = law
        self.parameters = trained(network)
        self.average = Average(self.parameters.items(), law.ema_decay)
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=law.learning_rate,
            betas=law.betas,
            weight_decay=law.weight_decay,
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
        return float(nn.utils.clip_grad_norm_(self.parameters.values(), limit))

    def advance(self) -> None:
        """Step and average with the gradients that are there."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.step)

    def tensors(self) -> dict[str, Tensor]:
        """Copies on the CPU, so that the training may go on while they are written."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            moments = self.optimiser.state[parameter]
            found[f"weight.{name}"] = _copy(parameter)
            found[f"average.{name}"] = _copy(self.average.values[name])
            if moments:
                found[f"mean.{name}"] = _copy(moments["exp_avg"])
                found[f"square.{name}"] = _copy(moments["exp_avg_sq"])
        return found

    @torch.no_grad()
    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `tensors` were taken. Raises `ModelError` where they are another network's."""
        self.step = step
        for name, parameter in self.parameters.items():
            found = _taken(tensors, f"weight.{name}", parameter)
            parameter.copy_(found)
            self.average.values[name].copy_(_taken(tensors, f"average.{name}", parameter))
            if f"mean.{name}" in tensors:
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": _taken(tensors, f"mean.{name}", parameter).to(parameter.device),
                    "exp_avg_sq": _taken(tensors, f"square.{name}", parameter).to(parameter.device),
                }


def _copy(tensor: Tensor) -> Tensor:
    # A CPU tensor would otherwise be the training's own.
    return tensor.detach().to("cpu", copy=True)


def _taken(tensors: Mapping[str, Tensor], name: str, like: Any) -> Tensor:
    found = tensors.get(name)
    if found is None or found.shape != like.shape:
        got = "none" if found is None else list(found.shape)
        raise ModelError(
            f"checkpoint: {name} must be of shape {list(like.shape)}, got {got}; it is another "
            "network's"
        )
    return found
