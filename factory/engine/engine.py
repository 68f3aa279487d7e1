"""The engine as the factory sees it: draws in, pairs with scores out."""

import queue
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from factory.engine.batching import Batch, Outcome, Resident, Slot
from factory.engine.checkpoint import load_models
from factory.engine.decoding import Decoder
from factory.models import pin
from factory.pair_source import Draw, Made, NotMade
from schemas.commit import Environment
from schemas.recipe import Recipe

_WHEELS = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "pillow", "pyarrow")


class Engine:
    """Stable Diffusion with Prompt-to-Prompt and CLIP, resident on one device.

    Raises `ModelError` where the recipe's files are missing, damaged, or not the ones it pins.
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
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # Every worker reads the very files that the run was begun with, or refuses to start.
        self.recipe = recipe = pin(recipe)
        self.device = torch.device(device)
        self.batch_pairs = batch_pairs
        self.decode_pairs = decode_pairs
        self.threads = threads
        torch.set_num_threads(threads)
        models = load_models(recipe, self.device)
        batch = Batch(models, recipe, batch_pairs)
        self.resident = Resident(batch, Decoder(models, decode_pairs), threads)

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made | NotMade]:
        """One outcome per draw, as they are ready. Raises whatever made the engine itself fail."""
        ready: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        for draw in draws:
            self.resident.submit(Slot(draw, ready.put))
        for _ in draws:
            outcome = ready.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def environment(self) -> Environment:
        """This device, these wheels, these shapes."""
        return Environment(
            device=_device_name(self.device),
            wheels={name: version(name) for name in _WHEELS},
            batch_pairs=self.batch_pairs,
            decode_pairs=self.decode_pairs,
            threads=self.threads,
            attention="sdpa",
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "cpu"
