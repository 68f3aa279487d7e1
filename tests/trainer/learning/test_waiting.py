"""A step of training waits for the device once: where loss and gradient are read."""

import math
from contextlib import nullcontext

import pytest
import torch

from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from schemas.fit import Where
from tests.factory.engine.tiny import SCHEDULER
from tests.factory.engine.waits import META, Waits
from tests.trainer.learning.test_objective import ITEMS, PAIRS, Pictures, editor
from tests.trainer.small import small
from trainer.feeding.feed import parts_of
from trainer.learning.conditions import Conditions
from trainer.learning.group import Group, Workplace
from trainer.learning.objective import Objective
from trainer.learning.state import State
from trainer.loop import Loop


@pytest.fixture
def reads(monkeypatch):
    """How often numbers were read from the device, which here is as if it held some."""
    found = []
    read = torch.Tensor.tolist

    def counted(tensor):
        if not tensor.is_meta:
            return read(tensor)
        found.append(tensor.shape)
        return [0.5, 0.0, 1.0]

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    return found


def test_a_step_waits_once(reads, monkeypatch):
    # Of no effect in float32, and not known for this device.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    parts, unet = editor("epsilon")
    unet = unet.float().to(META)
    law = small(False, law={"batch": len(ITEMS), "clip_norm": 1.0}).law
    text = TextEncoder(parts.tokenizer, parts.text_encoder.float().to(META))
    for _, instruction, _ in PAIRS:
        text.words(instruction)
    conditions = Conditions(parts.vae.float().to(META), text)
    reader, at = Pictures(conditions), Workplace(law, Where(micro_batch=4), META, Group())
    state = State(unet, law)
    schedule = NoiseSchedule.from_config(SCHEDULER)
    loop = Loop(
        unet, state, Objective(schedule, conditions.autoencoder.scaling), None, reader, at,
    )  # fmt: skip
    for step in range(2):
        made = parts_of(reader, [reader.seen(item) for item in ITEMS], at)
        with Waits() as waits:
            loss, norm = loop._gradients(made)
            state.advance()
        if step > 0:
            # In the first the schedule's table is copied, once for all.
            assert waits.kinds == {"free copy"}
        assert math.isclose(loss, 0.5 / len(ITEMS))
        assert norm == 1.0
    assert reads == [(3,)] * 2
