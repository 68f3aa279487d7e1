"""The engine as the factory sees it: draws in, pairs with scores out."""

import queue
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import torch

from factory.engine.batching import Batch, Call, Outcome, Resident, Slot
from factory.engine.checkpoint.load import load_models
from factory.engine.decoding import Decoder
from factory.engine.device import device_name, torch_device
from factory.pairs.source import Draw, Made, NotMade
from schemas.config import Compute
from schemas.environment import Environment
from schemas.recipe import Recipe

_WHEELS = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "pillow", "pyarrow")


class Engine:
    """Stable Diffusion with Prompt-to-Prompt and CLIP, resident on one device.

    The recipe's models are paths (`placed_models`). Raises `ModelError` where files are missing or damaged.
    `pairs` may be called from several threads at once; all calls share one batch, so that the end
    of one call's list never leaves the device idle.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        device: str = "auto",
        batch_pairs: int = 8,
        decode_pairs: int = 2,
        threads: int = 1,
    ) -> None:
        self.recipe = recipe
        self.device = torch_device(device)
        self.batch_pairs = batch_pairs
        self.decode_pairs = decode_pairs
        self.threads = threads
        torch.set_num_threads(threads)
        self.models = load_models(recipe, self.device)
        batch = Batch(self.models, recipe, batch_pairs)
        self.resident = Resident(batch, Decoder(self.models, decode_pairs), threads)

    @classmethod
    def for_compute(cls, recipe: Recipe, compute: Compute) -> "Engine":
        """The engine that a configuration asks for."""
        return cls(
            recipe,
            device=compute.device,
            batch_pairs=compute.batch_pairs,
            decode_pairs=compute.decode_pairs,
            threads=compute.threads,
        )

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made | NotMade]:
        """One outcome per draw, as they are ready.

        Raises whatever made the engine itself fail; draws that nobody waits for any more are
        dropped before they are begun.
        """
        ready: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        call = Call(ready.put)
        try:
            for draw in draws:
                self.resident.submit(Slot(draw, call))
            for _ in draws:
                outcome = ready.get()
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
        finally:
            call.abandoned = True

    @property
    def rows_run(self) -> int:
        """UNet rows that carried a candidate so far, four a pair and step."""
        return self.resident.rows_run

    def environment(self) -> Environment:
        """This device, these wheels, these shapes."""
        return Environment(
            device=device_name(self.device),
            wheels={name: version(name) for name in _WHEELS},
            batch_pairs=self.batch_pairs,
            decode_pairs=self.decode_pairs,
            threads=self.threads,
            attention="sdpa",
        )
