"""The resident thread: order, what fits, and decoding beside the next steps."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from factory.engine import batch as batch_module
from factory.engine import seating
from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_models
from factory.engine.decoder import Decoder
from factory.engine.engine import Engine
from factory.engine.request import Failed, Finished, Guided, Request, Row
from factory.engine.resident import Resident
from factory.engine.solvers.noise import hashed_noise
from tests.factory.engine.family import CAPTIONS, recipe, save_family
from tests.factory.engine.tiny import IMAGE_SIDE

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    of = recipe(save_family(tmp_path_factory.mktemp("family")), dtype="float32")
    return load_models(of, torch.device("cpu"))


def engine(models, monkeypatch=None, *, rows=4):
    """On a GPU decoding is beside the steps; `monkeypatch` makes it so here."""
    if monkeypatch:
        begin = Resident.__init__
        monkeypatch.setattr(
            Resident,
            "__init__",
            lambda *a, beside: begin(*a, beside=True),  # noqa: ARG005
        )
    return Engine(models, (IMAGE_SIDE, IMAGE_SIDE), rows=rows, decode_pictures=2)


def picture(seed, returns="pictures", latents=1):
    guided = Guided((Row(None), Row(CAPTIONS[seed % 4][0])), (3.0,))
    return Request(latents=(guided,) * latents, seed=seed, steps=3, returns=returns)


def test_pictures_decoded_beside_are_the_same(models, monkeypatch):
    asked = [picture(seed) for seed in range(5)]
    here = {one.request.seed: one.pictures for one in engine(models).make(asked)}
    beside = {one.request.seed: one.pictures for one in engine(models, monkeypatch).make(asked)}
    assert here.keys() == beside.keys() == set(range(5))
    for seed in here:
        np.testing.assert_array_equal(here[seed][0], beside[seed][0])


@pytest.mark.parametrize(("returns", "latents"), [("pictures", 1), ("scores", 2)])
def test_steps_go_on_while_pictures_are_decoded_and_scored(models, monkeypatch, returns, latents):
    held, going = threading.Event(), engine(models, monkeypatch, rows=2 * latents)
    finish = Decoder.finish

    def slow(self, done):
        assert held.wait(30)
        return finish(self, done)

    monkeypatch.setattr(Decoder, "finish", slow)
    results = going.make([picture(seed, returns, latents) for seed in range(4)])
    threading.Thread(
        target=lambda: (wait_for(lambda: going.rows_run == 4 * 3 * 2 * latents), held.set())
    ).start()
    made = list(results)
    assert [one.scores is not None for one in made] == [returns == "scores"] * 4


def test_steps_go_on_while_a_caller_is_busy_with_what_it_was_given(models):
    """Its pictures are coded and stored in its own thread, of which a worker has several."""
    going = engine(models, rows=2)
    busy = going.make([picture(1), picture(2)])
    assert next(busy).request.seed == 1
    # Nobody takes the first one's second picture while another one's are made.
    assert [one.request.seed for one in going.make([picture(3), picture(4)])] == [3, 4]
    assert next(busy).request.seed == 2


def test_noise_of_a_step_is_made_before_it_by_a_thread_of_its_own(models):
    made, one = [], picture(1)

    def noted(seed, purpose, shape):
        made.append((purpose, threading.current_thread().name))
        return hashed_noise(seed, purpose, shape)

    batch = Batch(models, (8, 8), 2, noise=noted)
    batch.admit(one)
    for step in range(one.steps):
        wait_for(lambda: made[-1][0] == str(step))  # noqa: B023
        # The one of this step is there, and was not asked for by who steps.
        assert [purpose for purpose, _ in made] == ["start", *map(str, range(step + 1))]
        batch.advance()
    who = {name.rpartition("_")[0] for purpose, name in made if purpose != "start"}
    assert who == {"editmill-noise"}


def test_what_a_step_is_told_is_laid_out_before_it_by_threads_of_their_own(models, monkeypatch):
    """Noise levels, guidance and routes by one, the noise of a walk by another: where CUDA fetches them."""
    made = []

    def noted(values, device):
        made.append((threading.current_thread().name.rpartition("_")[0], tuple(values.shape)))
        return values

    monkeypatch.setattr(seating, "locked", noted)
    monkeypatch.setattr(batch_module, "locked", noted)
    changing = Guided((Row(None), Row(CAPTIONS[0][0])), ((3.0, 2.0, 1.0),))
    batch = Batch(models, (8, 8), 4)
    batch.admit(Request(latents=(changing,), seed=1, steps=3, features=Shared()))
    layers = len(batch.router.layers), len(batch.router.feature_layers)
    each = {
        *(("editmill-staging", shape) for shape in ((4, 4), (1, 4), (layers[0], 4))),
        *(("editmill-staging", (layers[1], 4)), ("editmill-noise", (1, 4, 8, 8))),
    }
    for step in range(3):
        if step:
            # Of this one, before anybody asks for it.
            wait_for(lambda: len(made) == 5)
            assert set(made) == each
            made.clear()
        batch.advance()
        if not step:
            assert set(made[:5]) == each
            del made[:5]
    assert (batch.slots, made) == ([], [])


class Shared:
    """The rows of a request use the first one's features, in every layer and step."""

    def acts(self, layer):
        return True

    def route(self, step, steps):
        return [0, 0]


def wait_for(condition):
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)


def test_what_fails_beside_reaches_its_caller_and_the_engine_lives_on(models, monkeypatch):
    going = engine(models, monkeypatch)
    finish = Decoder.finish

    def fail(self, done):
        raise MemoryError("no room")

    monkeypatch.setattr(Decoder, "finish", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(going.make([picture(1)]))
    monkeypatch.setattr(Decoder, "finish", finish)
    assert isinstance(next(iter(going.make([picture(1)]))), Finished)


def test_kinds_of_requests_come_back_as_asked(models):
    asked = [picture(1), picture(2, "scores", latents=2), picture(3, "latents")]
    made = {one.request.seed: one for one in engine(models, rows=8).make(asked)}
    assert (made[1].scores, made[1].latents, len(made[1].pictures)) == (None, None, 1)
    assert made[2].scores is not None
    assert len(made[2].pictures) == 2
    assert made[3].pictures == ()
    assert made[3].latents.shape[:2] == (4, 1)


def test_a_request_that_does_not_fit_now_waits_for_its_turn(models):
    asked = [picture(1), picture(2, "scores", latents=2), picture(3)]
    made = [one.request.seed for one in engine(models, rows=4).make(asked)]
    assert made == [1, 2, 3]


def test_a_request_that_never_fits_is_refused_at_once(models):
    with pytest.raises(ValueError, match="must have at most 2 rows, got 4"):
        list(engine(models, rows=2).make([picture(2, latents=2)]))


def test_words_that_cannot_be_read_fail_alone(models):
    odd = Request(latents=(Guided((Row("\ud800"),)),), seed=9, steps=3)
    made = {one.request.seed: one for one in engine(models).make([odd, picture(1)])}
    assert isinstance(made[1], Finished)
    assert isinstance(made[9], Failed | Finished)


def test_each_size_of_pictures_has_a_batch_and_gets_what_it_gets_alone(models):
    factor = models.autoencoder.factor
    sizes = [None, (4, 8), (8, 4), (IMAGE_SIDE // factor, IMAGE_SIDE // factor)]
    asked = [replace(picture(seed), size=sizes[seed % 4]) for seed in range(8)]
    together = {one.request.seed: one.pictures for one in engine(models).make(asked)}
    for request in asked:
        (alone,) = engine(models).make([request])
        np.testing.assert_array_equal(alone.pictures[0], together[request.seed][0])
        high, wide = request.size or (IMAGE_SIDE // factor, IMAGE_SIDE // factor)
        assert alone.pictures[0].shape == (factor * high, factor * wide, 3)


def test_batches_of_larger_pictures_hold_fewer_rows(models):
    held = Engine(
        models, (IMAGE_SIDE, IMAGE_SIDE), rows=lambda size: 128 // (size[0] * size[1]) * 2
    )
    for size in ((4, 4), (8, 8)):
        (_,) = held.make([replace(picture(1), size=size)])
    assert {size: batch.rows for size, batch in held.resident._batches.items()}[8, 8] == 4
    assert held.resident._batches[4, 4].rows == 16


def test_a_request_that_no_batch_of_its_size_can_hold_is_told_so_and_others_go_on(models):
    held = Engine(models, (IMAGE_SIDE, IMAGE_SIDE), rows=lambda size: 2 if size == (4, 4) else 4)
    with pytest.raises(ValueError, match="must have at most 2 rows, got 4"):
        list(held.make([replace(picture(1, latents=2), size=(4, 4))]))
    (one,) = held.make([picture(2)])
    assert isinstance(one, Finished)
