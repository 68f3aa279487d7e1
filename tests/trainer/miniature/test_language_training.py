"""The miniature's language model is trained from nothing, goes on where it was stopped, and is judged."""

import json

import pytest
import torch

from factory.captions.prompts import Suggestion
from factory.errors import RunMismatch
from factory.miniature import world
from factory.models.find import MINIATURE
from trainer.miniature import language_training, train

pytestmark = pytest.mark.long
STEPS = 4


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(train, "LINES", 40)
    monkeypatch.setattr(language_training, "EVERY", 2)
    held_out = world.held_out_captions()[:3]
    monkeypatch.setattr(language_training, "held_out_captions", lambda: held_out)
    torch.set_num_threads(1)


def trained(tmp_path, steps=STEPS):
    said = []
    train.train_miniature(
        tmp_path / "work",
        tmp_path / "out",
        stages=("language",),
        steps={"language": steps},
        report=said.append,
    )
    return said, json.loads((tmp_path / "out" / "language" / "card.json").read_text())


def test_it_is_trained_and_its_card_says_how_good_it_is(tmp_path, small):
    said, card = trained(tmp_path)
    assert any(f"step {STEPS}/{STEPS}" in str(line) for line in said)
    assert card["state"] == "half-trained"
    assert card["training"] == {
        "lines": 40, "steps": STEPS, "batch": 32, "learning_rate": 0.002, "warm_up": 200,
    }  # fmt: skip
    assert (card["held_out"]["asked"], card["held_out"]["right"]) == (3, 0)
    weights = (tmp_path / "out" / "language" / "model.safetensors").read_bytes()
    # Again: it is done, and written as it was.
    again, same = trained(tmp_path)
    assert any(f"goes on from step {STEPS}" in str(line) for line in again)
    assert same == card
    assert (tmp_path / "out" / "language" / "model.safetensors").read_bytes() == weights


def test_other_steps_are_another_training(tmp_path, small):
    trained(tmp_path)
    with pytest.raises(RunMismatch, match="holds a training with another law"):
        trained(tmp_path, steps=STEPS + 1)


def test_the_shipped_one_is_judged_by_what_it_answers(monkeypatch):
    asked = world.held_out_captions()[:20]
    monkeypatch.setattr(language_training, "held_out_captions", lambda: asked)
    torch.set_num_threads(1)
    found = language_training.held_out_figures(MINIATURE / "language")
    assert found["asked"] == 20
    assert found["well_formed"] >= found["right"] >= 12
    # Read alike, but always the same words: of one caption and kind at most.
    reply = Suggestion("make it red", "a large red circle on a white background, flat")
    monkeypatch.setattr(language_training, "read_reply", lambda *_: reply)
    assert language_training.held_out_figures(MINIATURE / "language")["right"] <= 1
