"""Which pair stands where in a training, and all that is drawn for it: arithmetic, no state.

Position n of the endless list of items is slot n mod batch of step n div batch. Each epoch visits every
prompt once, in an order of its own, with one of its pairs drawn anew, as the original does (diffusers'
script visits every row). A step goes over an epoch's end, where the original's last step is shorter.
Nothing depends on workers, micro-batches or where a training was interrupted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from factory.seeds import generator
from schemas.training.fit import Dropout

Dropped = Literal["nothing", "text", "both", "image"]

TIMESTEPS = 1000


@dataclass(frozen=True)
class StepPair:
    """One pair of one step."""

    row: int
    """Of the dataset."""
    flip: bool
    """Whether both pictures are mirrored."""
    dropped: Dropped
    """Which conditions are withheld."""
    timestep: int
    """0..999, even."""
    seed: int
    """Root of its noises."""


class Order:
    """The items of a training with one seed over one list of prompts."""

    def __init__(
        self, seed: int, prompts: Sequence[str], rows: Sequence[Sequence[int]], batch: int
    ) -> None:
        """`prompts` are the prompts' names, `rows` the rows of each; `batch` is items per step."""
        self.seed = seed
        self.prompts = prompts
        self.rows = rows
        self.batch = batch
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def place(self, step: int, slot: int) -> tuple[int, int]:
        """Epoch and prompt of a slot of a step."""
        epoch, place = divmod(step * self.batch + slot, len(self.prompts))
        return epoch, int(self._permutation(epoch)[place])

    def item(self, step: int, slot: int, flip: float, dropout: Dropout) -> StepPair:
        """What stands in a slot of a step; `flip` is the chance of mirroring.

        Source: InstructPix2Pix `edit_dataset.py`: half of the items, a draw each, both pictures alike.
        diffusers' script mirrors only if asked to, and then by one draw for a whole transformed batch.
        """
        epoch, prompt = self.place(step, slot)
        # Named by the prompt, not by its place in the dataset's files.
        rng = generator(self.seed, "item", epoch, self.prompts[prompt])
        chosen, mirrored, kept, level = rng.random(4)
        pairs = self.rows[prompt]
        return StepPair(
            row=pairs[int(chosen * len(pairs))],
            flip=bool(mirrored < flip),
            dropped=dropped(float(kept), dropout),
            timestep=int(level * TIMESTEPS),
            seed=int(rng.integers(2**63)),
        )

    def _permute(self, epoch: int) -> NDArray[np.int64]:
        return generator(self.seed, "order", epoch).permutation(len(self.prompts))


def dropped(draw: float, shares: Dropout) -> Dropped:
    """What one even draw from [0, 1) withholds: text, then both, then image, then nothing.

    Source: InstructPix2Pix `ddpm_edit.py` (get_input): intervals of 5 % each. diffusers' script takes the
    same intervals, of a width that must be asked for: it withholds nothing by itself.
    """
    if draw < shares.text:
        return "text"
    if draw < shares.text + shares.both:
        return "both"
    if draw < shares.text + shares.both + shares.image:
        return "image"
    return "nothing"
