"""All that a training has learnt: weights, their average, the optimiser; in one flat list of tensors."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from factory.errors import ModelError
from schemas.training.fit import Law
from trainer.learning.average import Average
from trainer.learning.group import Group
from trainer.learning.lora import trained
from trainer.learning.spread import gather_whole, is_cut, local_part, set_part


class State:
    """The trained parameters of a network with AdamW and the moving average."""

    def __init__(self, network: nn.Module, law: Law, group: Group | None = None) -> None:
        self.law = law
        self.group = group or Group()
        self.parameters = trained(network)
        self.is_cut = any(is_cut(p) for p in self.parameters.values())
        """Whether each worker holds a part of it only."""
        self.parts = {
            name: nn.Parameter(local_part(parameter.detach())) if self.is_cut else parameter
            for name, parameter in self.parameters.items()
        }
        """This worker's part of each parameter, in its memory."""
        self.average = Average(self.parts.items(), law.ema_decay)
        self.optimiser = torch.optim.AdamW(
            self.parts.values(),
            lr=law.learning_rate,
            betas=law.betas,
            weight_decay=law.weight_decay,
            # One kernel for all; on a CPU it would change the bits of trainings that began without.
            fused=self._on_cuda,
        )
        self.step = 0
        """Optimiser steps done."""

    @property
    def _on_cuda(self) -> bool:
        return all(part.device.type == "cuda" for part in self.parts.values())

    def rate(self) -> float:
        """The learning rate of the coming step."""
        law = self.law
        up = min(1.0, (self.step + 1) / law.warm_up) if law.warm_up else 1.0
        down = 1.0
        if law.cool_down:
            down = min(1.0, (law.steps - self.step) / (law.cool_down * law.steps))
        return law.learning_rate * up * down

    def clip(self) -> Tensor:
        """Scale the gradient down to the law's largest norm, if it has one; returns what it was, on the
        device, which nobody waits for here.
        """
        self._take_gradients()
        gradients = [part.grad for part in self.parts.values() if part.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.is_cut:
            norm = self.group.sum(norm.square()).sqrt()
        if self.law.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parts.values(), self.law.clip_norm, norm)
        return norm

    def advance(self) -> None:
        """Step and average with the gradients that are there."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self._take_gradients()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for parameter in self.parameters.values():
            parameter.grad = None
        self.step += 1
        self.average.update(self.step)

    def _take_gradients(self) -> None:
        if self.is_cut:
            for name, parameter in self.parameters.items():
                self.parts[name].grad = (
                    None if parameter.grad is None else local_part(parameter.grad)
                )

    def tensors(self) -> dict[str, Tensor]:
        """Copies on the CPU, so that the training may go on while they are written.

        Whole, whoever trains them: where the state is cut, all workers call this.
        """
        return {
            name: gather_whole(part, like).to("cpu", copy=True) for name, part, like in self._held()
        }

    def give(self) -> None:
        """This worker's part in the leader's `tensors`."""
        for _, part, like in self._held():
            gather_whole(part, like)

    @torch.no_grad()
    def gather_average(self, into: nn.Module | None) -> None:
        """Fill a whole network; where the state is cut, all workers call this, most of them with None."""
        found = trained(into) if into is not None else {}
        for name, parameter in self.parameters.items():
            gathered = gather_whole(self.average.values[name], parameter)
            if name in found:
                found[name].copy_(gathered)

    def _held(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Names, this worker's parts, and the parameters that they are cut as."""
        for name, parameter in self.parameters.items():
            part = self.parts[name]
            moments = self.optimiser.state[part]
            yield f"weight.{name}", part.detach(), parameter
            yield f"average.{name}", self.average.values[name], parameter
            if moments:
                yield f"mean.{name}", moments["exp_avg"], parameter
                yield f"square.{name}", moments["exp_avg_sq"], parameter

    @torch.no_grad()
    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `tensors` were taken. Raises `ModelError` where they are another network's."""
        self.step = step
        for name, parameter in self.parameters.items():
            part = self.parts[name]
            set_part(_taken(tensors, f"weight.{name}", parameter), part, parameter)
            set_part(
                _taken(tensors, f"average.{name}", parameter), self.average.values[name], parameter
            )
            if f"mean.{name}" in tensors:
                mean, square = torch.zeros_like(part), torch.zeros_like(part)
                set_part(_taken(tensors, f"mean.{name}", parameter), mean, parameter)
                set_part(_taken(tensors, f"square.{name}", parameter), square, parameter)
                self.optimiser.state[part] = {
                    "step": torch.tensor(
                        float(step), device=part.device if self._on_cuda else "cpu"
                    ),
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
