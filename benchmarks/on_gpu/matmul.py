"""How fast a device multiplies large matrices: what a network's speed is held against."""

import statistics
import time

import torch

MATRIX = 8192
"""Rows and columns of each factor; smaller ones leave a large GPU partly idle."""


def matmul_rate(device: torch.device, side: int) -> float:
    """Operations a second of one large bfloat16 product, the median of several."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    rates = []
    for turn in range(30):
        wait()
        begin = time.perf_counter()
        torch.mm(left, right)
        wait()
        if turn >= 10:
            rates.append(2 * side**3 / (time.perf_counter() - begin))
    return statistics.median(rates)
