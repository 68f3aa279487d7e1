"""Loss and gradients of a step against a slow reference in float64 that shares no code with it."""

import numpy as np
import pytest
import torch

from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.errors import ModelError
from schemas.training.fit import Where
from tests.factory.engine.tiny import SCHEDULER, tiny_parts
from tests.trainer.reference_law import reference_step
from tests.trainer.small import SIDE, small
from trainer.feeding.feed import parts_of
from trainer.feeding.reader import LoadedRow
from trainer.learning.conditions import Conditions
from trainer.learning.editor import widen
from trainer.learning.group import Group, Workplace
from trainer.learning.objective import Objective
from trainer.learning.order import StepPair
from trainer.learning.state import State
from trainer.loop import Loop

RNG = np.random.default_rng(3)
PAIRS = [
    (
        torch.from_numpy(RNG.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)),
        instruction,
        torch.from_numpy(RNG.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)),
    )
    for instruction in ("make it red", "a small star", "make it a large blue cross", "")
]
ITEMS = [
    StepPair(row=0, flip=False, dropped="nothing", timestep=0, seed=11),
    StepPair(row=1, flip=True, dropped="nothing", timestep=999, seed=12),
    StepPair(row=2, flip=False, dropped="text", timestep=400, seed=13),
    StepPair(row=2, flip=True, dropped="image", timestep=650, seed=14),
    StepPair(row=1, flip=False, dropped="both", timestep=77, seed=15),
    StepPair(row=3, flip=True, dropped="nothing", timestep=501, seed=16),
]


class Pictures:
    """A reader of the pairs above: their pictures are decoded already."""

    asks_networks = True

    def __init__(self, conditions):
        self.conditions = conditions
        self.bad = {}

    def seen(self, item):
        return LoadedRow(item, item.row, (SIDE, SIDE), None)

    def encode(self, seen):
        turn = [[2] if one.item.flip else [] for one in seen]
        originals, edited = (
            torch.stack([PAIRS[s.row][k].flip(t) for s, t in zip(seen, turn, strict=True)])
            for k in (0, 2)
        )
        mean, log_variance = self.conditions.latents(edited)
        words = [self.conditions.text.words(PAIRS[one.row][1]) for one in seen]
        return mean, log_variance, self.conditions.latents(originals)[0], words

    def nothing(self):
        return self.conditions.text.nothing()


def editor(prediction_type):
    """An editor whose new channels are not zero, so that they count."""
    parts = tiny_parts(prediction_type=prediction_type)
    unet = parts.unet
    widen(unet)
    with torch.no_grad():
        weight = unet.conv_in.weight
        weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(8))
    return parts, unet.requires_grad_(True).train()


def loop(parts, unet, micro_batch=6, items=ITEMS):
    law = small(False, law={"dtype": "float64", "batch": len(items), "clip_norm": None}).law
    conditions = Conditions(parts.vae, TextEncoder(parts.tokenizer, parts.text_encoder))
    schedule = NoiseSchedule.from_config(SCHEDULER | {"prediction_type": parts.prediction_type})
    reader = Pictures(conditions)
    at = Workplace(law, Where(micro_batch=micro_batch), torch.device("cpu"), Group())
    found = Loop(
        unet, State(unet, law), Objective(schedule, conditions.autoencoder.scaling), None, reader, at,
    )  # fmt: skip
    seen = [reader.seen(item) for item in items]
    loss, _ = found._gradients(parts_of(reader, seen, at))
    return loss, {name: p.grad for name, p in unet.named_parameters()}


@pytest.mark.parametrize("micro_batch", [6, 4, 1])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_loss_and_gradients_equal_the_reference(prediction_type, micro_batch):
    expected, gradients = reference_step(*editor(prediction_type), PAIRS, ITEMS)
    loss, found = loop(*editor(prediction_type), micro_batch)
    assert loss == pytest.approx(expected, abs=1e-9)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9, msg=name)
    assert found["conv_in.weight"][:, 4:].abs().max() > 1e-6


def test_what_is_predicted_makes_a_difference():
    parts, unet = editor("epsilon")
    assert loop(parts, unet)[0] != pytest.approx(loop(*editor("v_prediction"))[0], abs=1e-3)


@pytest.mark.parametrize("dropped", ["text", "both", "image"])
def test_each_dropped_condition_matters(dropped):
    kept = StepPair(row=0, flip=False, dropped="nothing", timestep=300, seed=5)
    bare = StepPair(row=0, flip=False, dropped=dropped, timestep=300, seed=5)
    parts, unet = editor("epsilon")
    assert abs(loop(parts, unet, items=[kept])[0] - loop(parts, unet, items=[bare])[0]) > 1e-9


def test_a_schedule_of_another_length_is_refused():
    schedule = NoiseSchedule.from_config(SCHEDULER | {"num_train_timesteps": 500})
    with pytest.raises(ModelError, match="num_train_timesteps must be 1000, got 500"):
        Objective(schedule, 1.0)
