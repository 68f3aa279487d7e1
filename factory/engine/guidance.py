"""Guidance as a ladder: each row pushes the prediction on from the row below it, by a scale."""

from torch import Tensor


def guide(rows: Tensor, rungs: Tensor, scales: Tensor) -> Tensor:
    """One prediction for each place, from the rows that stand below each other there.

    `rows` are (row, channel, height, width), `rungs` (rung, place) the rows of each place from the least
    told to the most, the last repeated where there are fewer; `scales` (rung - 1, place), 0 there.
    With two rungs it is classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, equation 6, with
    scale = 1 + w), with three InstructPix2Pix's (Brooks et al. 2023, arXiv:2211.09800, equation 3):
    nothing, the picture alone, the picture and the instruction.
    """
    below = rows.index_select(0, rungs[0])
    found = below
    for rung, scale in zip(rungs[1:], scales, strict=True):
        above = rows.index_select(0, rung)
        found = found + scale.to(rows.dtype).view(-1, 1, 1, 1) * (above - below)
        below = above
    return found
