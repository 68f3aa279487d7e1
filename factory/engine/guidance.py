"""Classifier-free guidance with a scale per row."""

from torch import Tensor


def guide(unconditional: Tensor, conditional: Tensor, scale: Tensor) -> Tensor:
    """Push each prediction away from its unconditional one; a scale of 1 is no guidance.

    `scale` is (rows,), so that one batch mixes scales.
    Source: Ho & Salimans 2022 (arXiv:2207.12598), equation 6, with scale = 1 + w.
    """
    weight = scale.to(conditional.dtype).view(-1, *[1] * (conditional.ndim - 1))
    return unconditional + weight * (conditional - unconditional)
