"""Prompt-to-Prompt as InstructPix2Pix runs it: which rows share self-attention, and until when.

A batch of S pairs is laid out in four blocks of S rows: unconditional original, unconditional
edited, conditional original, conditional edited.
"""

from torch import Tensor, arange, cat


def shares_attention(p: float, step: int, steps: int) -> bool:
    """Whether step `step` (from 0) of `steps` is controlled: p > step / (steps - 1).

    As in the original, where one step divides by zero: here one step is controlled for p > 0.
    p = 0 controls none, p = 1 all but the last.
    """
    return p > step / max(steps - 1, 1)


def route(shared: Tensor) -> Tensor:
    """Row to row for `shared`, bool (pairs,): edited rows of sharing pairs look to their original.

    int64 (4 * pairs,). Both guidance halves are controlled, as in the original.
    """
    pairs = len(shared)
    own = arange(4 * pairs, device=shared.device)
    original, edited = own[:pairs], own[pairs : 2 * pairs]
    first = edited.where(~shared, original)
    return cat([original, first, original + 2 * pairs, first + 2 * pairs])
