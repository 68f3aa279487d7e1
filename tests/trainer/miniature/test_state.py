"""A training that is stopped anywhere goes on as if it had not been."""

from itertools import islice

import pytest
import torch
from torch import nn

from trainer.miniature.scenes import training_scenes
from trainer.miniature.state import Training

torch.set_num_threads(1)


def train(path, until, steps=30):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
    training = Training(model, path, steps=steps, learning_rate=0.1)
    for rng in islice(training.draws(0), until - training.step):
        x = torch.from_numpy(rng.standard_normal((8, 4), dtype="float32"))
        training.update((model(x) - x[:, :2]).square().mean())
    training.save()
    return training


def test_interrupted_training_reaches_the_same_weights_bit_for_bit(tmp_path):
    whole = train(tmp_path / "whole" / "test", 30)
    for until in (7, 12, 30):
        resumed = train(tmp_path / "parts" / "test", until)
    assert resumed.step == 30
    for name, weight in whole.parameters.items():
        assert torch.equal(weight, resumed.parameters[name])
        assert torch.equal(whole.average.values[name], resumed.average.values[name])


def test_plateau_lets_the_goal_be_raised():
    short = Training(nn.Linear(1, 1), _nowhere(), steps=1000, learning_rate=1.0)
    long = Training(nn.Linear(1, 1), _nowhere(), steps=5000, learning_rate=1.0)
    short.step = long.step = 700
    assert short.rate() == long.rate() == 1.0
    short.step = 1000
    assert short.rate() == 0.0


def _nowhere():
    from pathlib import Path

    return Path("does-not-exist")


def test_loss_that_is_not_finite_moves_nothing(tmp_path):
    training = train(tmp_path / "state", 3)
    before = {name: weight.clone() for name, weight in training.parameters.items()}
    loss = sum(weight.sum() for weight in training.parameters.values()) * float("nan")
    with pytest.raises(ValueError, match="step 3: loss must be finite"):
        training.update(loss)
    assert all(torch.equal(before[n], w) for n, w in training.parameters.items())


def test_averaged_weights_are_a_copys_and_the_model_keeps_its_own(tmp_path):
    training = train(tmp_path / "state", 5)
    before = training.parameters["weight"].clone()
    averaged = training.averaged().weight
    assert torch.equal(averaged, training.average.values["weight"])
    assert not torch.equal(averaged, before)
    assert torch.equal(training.parameters["weight"], before)
    assert training.parameters["weight"].requires_grad
    assert not averaged.requires_grad


def test_held_out_captions_never_occur_in_training():
    from factory.miniature.world import caption, held_out_captions

    seen = {caption(scene) for scene in training_scenes(4000, seed=0)}
    assert not seen & set(held_out_captions())
    assert len(seen) > 1500
