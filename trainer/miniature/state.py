"""One resumable training: parameters, AdamW, moving average and step in one safetensors file."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def draws(seed: int, stage: str, step: int) -> np.random.Generator:
    """The random numbers of one step; a resumed training draws what it would have drawn."""
    return np.random.default_rng([seed, *stage.encode(), step])


class Training:
    """AdamW with a warm-up, a plateau and a linear cool-down over the last `cool_down` share.

    The plateau lets `steps` be raised while a training runs on: only the cool-down moves.
    """

    def __init__(
        self,
        model: nn.Module,
        path: Path,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float = 1e-4,
        ema_decay: float = 0.999,
        cool_down: float = 0.2,
    ) -> None:
        self.model = model
        self.path = path
        self.steps = steps
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.cool_down = cool_down
        self.step = 0
        self.seconds = 0.0
        """Spent in all starts so far."""
        self.parameters = dict(model.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), learning_rate, weight_decay=weight_decay
        )
        if path.exists():
            self._restore()
        self._since = time.monotonic()

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
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.average[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model holds its moving average."""
        current = {name: p.detach().clone() for name, p in self.parameters.items()}
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(current[name])

    def save(self) -> None:
        """Write the whole state beside the old one, then put it in its place."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"model.{name}"] = parameter.detach().contiguous()
            tensors[f"average.{name}"] = self.average[name]
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
                    self.average[name] = file.get_tensor(f"average.{name}")
                    self.optimiser.state[parameter] = {
                        "step": torch.tensor(float(self.step)),
                        "exp_avg": file.get_tensor(f"mean.{name}"),
                        "exp_avg_sq": file.get_tensor(f"square.{name}"),
                    }
