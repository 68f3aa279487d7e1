"""Nothing inside a step waits for the device: traced on one that holds no numbers."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from factory.engine.autoencoder import Autoencoder
from factory.engine.batch import Batch
from factory.engine.networks import Networks
from factory.engine.request import Guided, Request, Row
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.pairs.prompt_to_prompt import request_of
from tests.factory.engine.family import CAPTIONS, draw, recipe
from tests.factory.engine.tiny import LATENT_SIDE, SCHEDULER, tiny_parts

META = torch.device("meta")


class Waits(TorchDispatchMode):
    """Counts what would stop the processor: numbers read from the device, copies that block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with self:
            # In inference mode composed operations come whole.
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"):
            self.found[name] += any(getattr(a, "is_meta", False) for a in args)
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            target = args[0].device if name == "copy_" else kwargs.get("device", source.device)
            crosses = (source.device == META) != (torch.device(target or source.device) == META)
            free = kwargs.get("non_blocking", len(args) > 2 and args[2])
            self.found["blocking copy"] += crosses and not free and source.ndim > 0
            self.found["free copy"] += crosses and bool(free)
        return func(*args, **kwargs)


@pytest.fixture
def batch():
    parts = tiny_parts(dtype=torch.float32)
    text = TextEncoder(parts.tokenizer, parts.text_encoder.to(META))
    networks = Networks(
        parts.unet.to(META), Autoencoder(parts.vae), text, NoiseSchedule.from_config(SCHEDULER)
    )
    return Batch(networks, (LATENT_SIDE, LATENT_SIDE), 16)


def requests():
    of = recipe(Path("nowhere"), steps=3)
    yield request_of(draw(CAPTIONS[0], 1, p=0.7), of)
    yield request_of(draw(CAPTIONS[1], 2), of.model_copy(update={"solver": "ddim"}))
    latent = Guided((Row(None), Row("a red circle")), (3.0,))
    yield Request(latents=(latent,), seed=3, steps=4, solver="dpm_solver")
    yield Request(latents=(latent,), seed=4, steps=3, returns="latents")


def test_a_step_never_waits_for_the_device(batch):
    for request in requests():
        batch.admit(request)
    with Waits() as waits:
        while batch.slots:
            batch.advance()
    waits.found -= Counter()
    assert set(waits.found) == {"free copy"}, waits.found


def test_admission_copies_nothing_that_blocks_but_new_words(batch):
    for text in CAPTIONS[0] + CAPTIONS[1] + ("a red circle", ""):
        batch.networks.text.words(text)
    with Waits() as waits:
        for request in requests():
            batch.admit(request)
    waits.found -= Counter()
    assert set(waits.found) == {"free copy"}, waits.found


def test_the_trace_sees_what_waits(batch):
    """Each of what it looks for, once."""
    with Waits() as waits:
        batch.x.copy_(torch.zeros(batch.x.shape))
        torch.zeros(3).to(META)
        torch.zeros(3).to(META, non_blocking=True)
    assert waits.found == {"blocking copy": 2, "free copy": 1}
