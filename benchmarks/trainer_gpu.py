"""SD 1.5's UNet as an editor at 256 px on a GPU: a step from latents, and its share of the matmul rate.

Written where there is no GPU; it has not run yet.
"""

import statistics
from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from factory.engine.schedule import NoiseSchedule
from factory.family import family_fields
from schemas.fit import Dropout, Fit
from trainer.editor import widen
from trainer.group import Group
from trainer.loop import Loop
from trainer.objective import Objective
from trainer.order import Item, Order
from trainer.reader import Seen
from trainer.state import State

SIDE = 256
LATENT = (4, SIDE // 8, SIDE // 8)
BATCH = 128
WARM_UP = 5
STEPS = 20
MATRIX = 8192


class LatentsInMemory:
    """A reader of made-up latents, so that no disk is measured."""

    def __init__(self, device: torch.device, width: int) -> None:
        self.bad: dict[int, str] = {}
        draws = torch.Generator().manual_seed(0)
        self.latents = torch.randn(3, *LATENT, generator=draws)
        self.context = torch.randn(77, width, generator=draws).to(device)

    def read(self, item: Item) -> Seen:
        return Seen(item, item.row, (SIDE, SIDE), self.latents)

    def unreadable(self) -> int:
        return 0

    def encode(self, seen: Sequence[Seen]) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        mean, log_variance, condition = torch.stack([one.content for one in seen]).unbind(1)
        return mean, log_variance - 10, condition, [self.context] * len(seen)

    def empty(self) -> Tensor:
        return self.context


def on_gpu() -> dict[str, object]:
    """Figures for float32 weights and bfloat16 networks, as the `paper` preset has them."""
    if not torch.cuda.is_available():
        raise SystemExit("--gpu: needs a CUDA device, got none")
    device = torch.device("cuda")
    fields = family_fields("sd-1")
    unet = UNet2DConditionModel.from_config(fields["unet"])
    widen(unet)
    unet = unet.to(device).train()
    config = Fit(
        law={
            "model": {"source": "random"},
            "batch": BATCH,
            "dtype": "bfloat16",
            "dropout": Dropout(),
        },
        compute={"where": "here", "device": "cuda", "micro_batch": BATCH, "loaders": 8},
    )
    law = config.law
    prompts = [f"{number:016x}" for number in range(4 * BATCH)]
    state = State(unet, law)
    loop = Loop(
        torch.compile(unet),
        state,
        Objective(NoiseSchedule.from_config(fields["scheduler"]), 0.18215),
        Order(law.seed, prompts, [[row] for row in range(len(prompts))], BATCH),
        LatentsInMemory(device, int(fields["unet"]["cross_attention_dim"])),
        law,
        config.compute,
        device,
        Group(),
    )
    for _ in loop.run(WARM_UP, lambda: False):
        pass
    seconds = [report.seconds for report in loop.run(WARM_UP + STEPS, lambda: False)][1:]
    step = statistics.median(seconds)
    work = BATCH * _operations(unet, device, int(fields["unet"]["cross_attention_dim"]))
    rate = matmul_rate(device)
    return {
        "matmul_share": round(work / step / rate, 3),
        "matmul_tflops": round(rate / 1e12, 1),
        "images_per_s": round(BATCH / step, 1),
        "tflop_per_step": round(work / 1e12, 2),
        "batch": BATCH,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
    }


def matmul_rate(device: torch.device) -> float:
    """Operations a second of one large bfloat16 product, the median of several."""
    left, right = (
        torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16) for _ in range(2)
    )
    rates = []
    for turn in range(30):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch.mm(left, right)
        end.record()
        torch.cuda.synchronize()
        if turn >= 10:
            rates.append(2 * MATRIX**3 / (begin.elapsed_time(end) / 1000))
    return statistics.median(rates)


def _operations(unet: torch.nn.Module, device: torch.device, width: int) -> float:
    """Of one pair, forward and backward."""
    seen = torch.randn(1, 8, *LATENT[1:], device=device)
    context = torch.randn(1, 77, width, device=device)
    with FlopCounterMode(display=False) as counted:
        found = unet(seen, torch.tensor([500], device=device), context, return_dict=False)[0]
        found.square().mean().backward()
    unet.zero_grad(set_to_none=True)
    return float(counted.get_total_flops())
