"""A step of training waits for the device once: where loss and gradient are read."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.engine.text.xl import TextEncoderXl
from schemas.training.fit import Where
from tests.factory.engine.tiny import SCHEDULER
from tests.factory.engine.tiny_xl import tiny_xl
from tests.factory.engine.waits import META, Waits
from tests.trainer.learning.test_objective import ITEMS, PAIRS, editor
from tests.trainer.small import SIDE, small
from trainer.feeding.feed import parts_of
from trainer.feeding.reader import LoadedRow, PictureReader
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


def of_sd(folder):
    """The network that is trained, its autoencoder, its text."""
    parts, unet = editor("epsilon")
    text = TextEncoder(parts.tokenizer, parts.text_encoder.float().to(META))
    return unet, parts.vae, text


def of_xl(folder):
    """The same of Stable Diffusion XL, which is told the pictures' sizes too."""
    xl = tiny_xl(folder, editor=True)
    encoders = (xl.text_encoder.to(META), xl.text_encoder_2.to(META))
    text = TextEncoderXl((xl.tokenizer, xl.tokenizer_2), encoders, zeros=True)
    return xl.unet.requires_grad_(True).train(), xl.vae, text


def loaded(item):
    """A row as the reader's threads give it: two pictures of bytes, and the instruction."""
    original, instruction, edited = PAIRS[item.row]
    content = (original.numpy(), edited.numpy(), instruction)
    return LoadedRow(item, item.row, (SIDE, SIDE), content)


@pytest.mark.long
@pytest.mark.parametrize("model", [of_sd, of_xl])
def test_a_step_waits_once(model, reads, monkeypatch, tmp_path):
    """From pictures on: what they and their instructions become is part of it."""
    # Of no effect in float32, and not known for this device.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    unet, vae, text = model(tmp_path)
    unet = unet.float().to(META)
    law = small(False, law={"batch": len(ITEMS), "clip_norm": 1.0}).law
    for _, instruction, _ in PAIRS:
        text.words(instruction)
    conditions = Conditions(vae.float().to(META), text)
    nowhere = SimpleNamespace(shelf=SimpleNamespace(store=SimpleNamespace(uri="nowhere")))
    reader = PictureReader(nowhere, law, conditions, trained=range(len(PAIRS)))
    at = Workplace(law, Where(micro_batch=4), META, Group())
    state = State(unet, law)
    schedule = NoiseSchedule.from_config(SCHEDULER)
    loop = Loop(
        unet, state, Objective(schedule, conditions.autoencoder.scaling), None, reader, at,
    )  # fmt: skip
    for step in range(2):
        made = parts_of(reader, [loaded(item) for item in ITEMS], at)
        with Waits() as waits:
            loss, norm = loop._gradients(made)
            state.advance()
        if step > 0:
            # In the first the schedule's table is copied, once for all.
            assert waits.kinds == {"free copy"}
        assert math.isclose(loss, 0.5 / len(ITEMS))
        assert norm == 1.0
        # Of a byte they take a quarter of the time.
        pictures = {numbers for shape, numbers in waits.crossed if shape[1:] == (3, SIDE, SIDE)}
        assert pictures == {torch.uint8}
    assert reads == [(3,)] * 2
