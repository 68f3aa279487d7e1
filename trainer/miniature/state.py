"""One resumable training: parameters, AdamW, moving average and step in one safetensors file."""

import copy
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.learning.average import Average

M = TypeVar("M", bound=nn.Module)


class Training(Generic[M]):
    """AdamW with a warm-up, a plateau and a linear cool-down over the last `cool_down` share.

    The plateau lets `steps` be raised while a training runs on: only the cool-down moves.
    """

    def __init__(
        self,
        model: M,
        path: Path,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float = 1e-4,
        cool_down: float = 0.2,
    ) -> None:
        self.model = model
        self.path = path
        self.steps = steps
        self.learning_rate = learning_rate
        self.cool_down = cool_down
        self.step = 0
        self.seconds = 0.0
        """Spent in all starts so far."""
        self.parameters = dict(model.named_parameters())
        self.average = Average(self.parameters.items(), decay=0.999)
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), learning_rate, weight_decay=weight_decay
        )
        if path.exists():
            self._restore()
        self._since = time.monotonic()

    def draws(self, seed: int) -> Iterator[np.random.Generator]:
        """The random numbers of each step that is left; resumed, those that it would have drawn."""
        while self.step < self.steps:
            yield np.random.default_rng([seed, *self.path.stem.encode(), self.step])

    def rate(self) -> float:
        """The learning rate of the present step."""
        warm_up = min(1.0, (self.step + 1) / 100)
        left = (self.steps - self.step) / (self.cool_down * self.steps)
        return self.learning_rate * warm_up * min(1.0, max(left, 0.0))

    def update(self, loss: Tensor) -> None:
        """One optimiser step; refuses a loss that is not finite before any weight moves."""
        if not torch.isfinite(loss):
            raise ValueError(f"{self.path.stem}: step {self.step}: loss must be finite, got {loss}")
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        self.step += 1
        self.average.update(self.step)

    def averaged(self) -> M:
        """A copy of the model that holds its moving average, frozen and in evaluation mode."""
        with self.average.in_place():
            return copy.deepcopy(self.model).eval().requires_grad_(False)

    def save(self) -> None:
        """Write the whole state beside the old one, then put it in its place."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"model.{name}"] = parameter.detach().contiguous()
            tensors[f"average.{name}"] = self.average.values[name]
            moments = self.optimiser.state[parameter]
            tensors[f"mean.{name}"] = moments["exp_avg"]
            tensors[f"square.{name}"] = moments["exp_avg_sq"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".partial")
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        save_file(tensors, beside, {"step": str(self.step), "seconds": f"{self.seconds:.0f}"})
        os.replace(beside, self.path)

    def _restore(self) -> None:
        with safe_open(self.path, "pt") as file:
            self.step = int(file.metadata()["step"])
            self.seconds = float(file.metadata()["seconds"])
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(file.get_tensor(f"model.{name}"))
                    self.average.values[name] = file.get_tensor(f"average.{name}")
                    self.optimiser.state[parameter] = {
                        "step": torch.tensor(float(self.step)),
                        "exp_avg": file.get_tensor(f"mean.{name}"),
                        "exp_avg_sq": file.get_tensor(f"square.{name}"),
                    }
