"""Which of the world's outlines a mask shows, and where: plain template fitting."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from factory.miniature.world import PLACES, RADIUS, SHAPES, SIDE_PX, SIZES, coverage

KINDS: tuple[tuple[str, str], ...] = tuple(product(SHAPES, SIZES))

# Centres may lie this far outside the places that the world draws from.
STRAY_PX = 6
# Pad the frame so that no template wraps around within the centres searched.
_FRAME_PX = 96
_FINALISTS = 4
# The mask comes blurred once; a soft picture looks as if blurred again.
_BLURS = 3


@dataclass(frozen=True, kw_only=True)
class Silhouette:
    """A fitted outline. `x`, `y` are the centre as shares of the side.

    `share` is the fitted coverage, (64, 64) in [0, 1]. `deviation_px` is how far the mask's edge
    strays from the outline on average. `certainty` is 1 where the mask is the outline and 0 where
    it lies halfway to the nearest other shape or size.
    """

    shape: str
    size: str
    x: float
    y: float
    share: NDArray[np.float64]
    deviation_px: float
    certainty: float


def nearest_silhouette(mask: NDArray[np.float64]) -> Silhouette:
    """The outline nearest to a mask, of all shapes, sizes and centres.

    The mask is (64, 64) in [0, 1], blurred by `blur` over a reach of 1.
    """
    spectra, energies, centres = _templates()
    padded = np.zeros((_FRAME_PX, _FRAME_PX))
    padded[:SIDE_PX, :SIDE_PX] = mask
    overlap = np.fft.irfft2(np.fft.rfft2(padded) * spectra, s=padded.shape)
    shifts = centres - SIDE_PX // 2
    overlap = overlap[:, shifts[:, None], shifts[None, :]]
    misfit = energies - 2 * overlap
    nearest = misfit.reshape(len(KINDS), -1).argmin(axis=1)
    order = np.argsort(misfit.reshape(len(KINDS), -1).min(axis=1))[:_FINALISTS]
    finalists = []
    for index in order:
        row, column = divmod(int(nearest[index]), len(centres))
        x = _between(misfit[index, row], column, centres)
        y = _between(misfit[index, :, column], row, centres)
        shape, size = KINDS[index]
        share = coverage(shape, RADIUS[size], x, y)
        error, soft = min(
            ((float(np.square(mask - soft).sum()), soft) for soft in _softened(share)),
            key=lambda entry: entry[0],
        )
        finalists.append((error, shape, size, x, y, share, soft))
    finalists.sort(key=lambda entry: entry[0])
    error, shape, size, x, y, share, soft = finalists[0]
    certainty = min(
        (rival[0] - error) / max(float(np.square(rival[-1] - soft).sum()), 1e-9)
        for rival in finalists[1:]
    )
    return Silhouette(
        shape=shape,
        size=size,
        x=x,
        y=y,
        share=share,
        deviation_px=_deviation(mask, soft),
        certainty=certainty,
    )


def _softened(share: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """The outline as blurred as the mask is, then as in softer and softer pictures."""
    for _ in range(_BLURS):
        share = blur(share[..., None], 1)[..., 0]
        yield share


def _deviation(mask: NDArray[np.float64], soft: NDArray[np.float64]) -> float:
    """Area in dispute over length of the edge: pixels, whatever the size and the blur."""
    down, across = np.gradient(soft)
    disputed = np.abs(_sharpened(mask) - _sharpened(soft)).sum()
    return float(disputed / np.hypot(down, across).sum())


def _sharpened(mask: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mask with its edges cut steeply, so that noise on either side counts for nothing."""
    return (0.5 + 3 * (mask - 0.5)).clip(0, 1)


def blur(planes: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The mean over a box of (2 * reach + 1) squared, edges repeated; (64, 64, any)."""
    width = 2 * reach + 1
    wide = np.pad(planes, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    rows = np.sum([wide[start : start + SIDE_PX] for start in range(width)], axis=0)
    both = np.sum([rows[:, start : start + SIDE_PX] for start in range(width)], axis=0)
    return np.asarray(both / width**2)


def _between(costs: NDArray[np.float64], best: int, centres: NDArray[np.int64]) -> float:
    """The minimum of the parabola through the best centre and its neighbours, as a share."""
    offset = 0.0
    if 0 < best < len(costs) - 1:
        left, middle, right = costs[best - 1 : best + 2]
        bend = left - 2 * middle + right
        if bend > 0:
            offset = float(np.clip((left - right) / (2 * bend), -0.5, 0.5))
    return float((centres[best] + offset) / SIDE_PX)


@cache
def _templates() -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.int64]]:
    """Spectra to correlate with, squared sums inside the frame, and the centres in pixels.

    (kinds, 96, 49); (kinds, centres, centres), rows first; (centres,).
    """
    first = round(PLACES[0] * SIDE_PX) - STRAY_PX
    last = round(PLACES[1] * SIDE_PX) + STRAY_PX
    centres = np.arange(first, last + 1)
    spectra, energies = [], []
    for shape, size in KINDS:
        template = blur(coverage(shape, RADIUS[size], 0.5, 0.5)[..., None], 1)[..., 0]
        padded = np.zeros((_FRAME_PX, _FRAME_PX))
        padded[:SIDE_PX, :SIDE_PX] = template
        spectra.append(np.conj(np.fft.rfft2(padded)))
        energy = np.zeros((len(centres), len(centres)))
        for row, column in np.ndindex(energy.shape):
            down, right = (int(centres[i]) - SIDE_PX // 2 for i in (row, column))
            seen = template[
                max(0, -down) : SIDE_PX - max(0, down), max(0, -right) : SIDE_PX - max(0, right)
            ]
            energy[row, column] = np.square(seen).sum()
        energies.append(energy)
    return np.stack(spectra), np.stack(energies), centres
