"""SD 1.5's UNet as an editor at 256 px on a GPU: a step from latents, and its share of the matmul rate.

Written where there is no GPU: it runs on a CPU with a small UNet (`--tiny`), on a GPU it has not run yet.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.on_gpu.engine_model import TINY
from benchmarks.on_gpu.matmul import MATRIX, matmul_rate
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import Words
from factory.models.family import family_fields
from schemas.training.fit import Fit
from trainer.feeding.pictures import Shape
from trainer.feeding.reader import LoadedRow, Reader
from trainer.learning.editor import widen
from trainer.learning.group import Group, Workplace
from trainer.learning.objective import Objective
from trainer.learning.order import Order
from trainer.learning.state import State
from trainer.loop import Loop

SIDE = 256
LATENT = (4, SIDE // 8, SIDE // 8)
BATCH = 128
WARM_UP = 5
STEPS = 20


class LatentsInMemory(Reader):
    """A reader of made-up latents, so that no disk is measured."""

    asks_networks = False

    def __init__(self, rows: int, width: int) -> None:
        super().__init__("memory", range(rows))
        draws = torch.Generator().manual_seed(0)
        self.latents = torch.randn(3, *LATENT, generator=draws)
        self.words = Words(torch.randn(77, width, generator=draws))

    def _content(self, row: int, flip: bool) -> tuple[Shape, Any]:
        return (SIDE, SIDE), self.latents

    def encode(self, seen: Sequence[LoadedRow]) -> tuple[Tensor, Tensor, Tensor, list[Words]]:
        mean, log_variance, condition = torch.stack([one.content for one in seen]).unbind(1)
        return mean, log_variance - 10, condition, [self.words] * len(seen)

    def nothing(self) -> Words:
        return self.words

    def close(self) -> None: ...


def on_gpu() -> dict[str, object]:
    """Figures for float32 weights and bfloat16 networks, as the `paper` preset has them."""
    if not torch.cuda.is_available():
        raise SystemExit("--gpu: needs a CUDA device, got none")
    device = torch.device("cuda")
    fields = family_fields("sd-1")
    unet = UNet2DConditionModel.from_config(fields["unet"])
    figures = measured(unet, fields["scheduler"], device, BATCH, STEPS, torch.compile)
    return figures | {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1)}


def at_small_size() -> dict[str, object]:
    """The same on a small network, on any machine: whether it runs, no figure to keep."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unet = UNet2DConditionModel.from_config(TINY.unet_fields)
    scheduler = family_fields("sd-1")["scheduler"]
    return measured(unet, scheduler, device, 2, 3, lambda network: network, TINY.matrix)


def measured(
    unet: Any,
    scheduler: dict[str, Any],
    device: torch.device,
    batch: int,
    steps: int,
    compiled: Callable[[Any], Any],
    matrix: int = MATRIX,
) -> dict[str, object]:
    """Steps of a text-to-image UNet as an editor, beside products of large matrices."""
    widen(unet)
    unet = unet.to(device).train()
    width = int(unet.config.cross_attention_dim)
    config = Fit(
        law={"model": {"source": "random"}, "batch": batch, "dtype": "bfloat16"},
        compute={"where": "here", "device": device.type, "micro_batch": batch, "loaders": 8},
    )
    law = config.law
    prompts = [f"{number:016x}" for number in range(4 * batch)]
    state = State(unet, law)
    loop = Loop(
        compiled(unet),
        state,
        Objective(NoiseSchedule.from_config(scheduler), 0.18215),
        Order(law.seed, prompts, [[row] for row in range(len(prompts))], batch),
        LatentsInMemory(len(prompts), width),
        Workplace(law, config.compute, device, Group()),
    )
    for _ in loop.run(WARM_UP, lambda: False):
        pass
    # The loss is read on the CPU at every step, so that a step's time is the device's.
    seconds = [report.seconds for report in loop.run(WARM_UP + steps, lambda: False)][1:]
    step = statistics.median(seconds)
    work = batch * _operations(unet, device, width)
    rate = matmul_rate(device, matrix)
    return {
        "matmul_share": round(work / step / rate, 3),
        "matmul_tflops": round(rate / 1e12, 3),
        "images_per_s": round(batch / step, 1),
        "tflop_per_step": round(work / 1e12, 4),
        "batch": batch,
    }


def _operations(unet: torch.nn.Module, device: torch.device, width: int) -> float:
    """Of one pair, forward and backward."""
    seen = torch.randn(1, 8, *LATENT[1:], device=device)
    context = torch.randn(1, 77, width, device=device)
    with FlopCounterMode(display=False) as counted:
        found = unet(seen, torch.tensor([500], device=device), context, return_dict=False)[0]
        found.square().mean().backward()
    unet.zero_grad(set_to_none=True)
    return float(counted.get_total_flops())
