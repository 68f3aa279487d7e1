"""Requests of every kind beside each other: each gets what it gets alone, bit for bit."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from factory.edits.editors.ip2p import edit_request
from factory.engine.autoencoder import Autoencoder
from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_models
from factory.engine.engine import Engine
from factory.engine.networks import Networks
from factory.engine.request import Guided, Request, Row, Start
from factory.engine.solvers.noise import hashed_noise
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.solvers.solver import Road, spread
from factory.engine.text.encoder import TextEncoder
from factory.pairs.prompt_to_prompt import request_of
from tests.factory.engine.family import CAPTIONS, draw, recipe, run, save_family
from tests.factory.engine.reference_samplers import (
    alphas_cumprod,
    invert_ddim,
    sample_unguided,
)
from tests.factory.engine.test_solvers import by_diffusers, dpm_scheduler
from tests.factory.engine.tiny import LATENT_SIDE, SCHEDULER, tiny_parts
from trainer.learning.editor import widen

torch.set_num_threads(1)
SIZE = (LATENT_SIDE, LATENT_SIDE)
SHAPE = (4, *SIZE)


def normal(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def plain(prompt: str, seed: int, **fields: object) -> Request:
    """A picture of one prompt."""
    guided = Guided((Row(None), Row(prompt)), (3.0,))
    return Request(latents=(guided,), seed=seed, **{"steps": 4, **fields})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    of = recipe(save_family(tmp_path_factory.mktemp("family")), dtype="float32")
    return load_models(of, torch.device("cpu"))


@pytest.fixture(scope="module")
def editor():
    """Its UNet sees a picture."""
    parts = tiny_parts(dtype=torch.float32)
    widen(parts.unet)
    parts.unet.conv_in.weight.data[:, 4:] = 0.1 * torch.randn(32, 4, 3, 3)
    text = TextEncoder(parts.tokenizer, parts.text_encoder)
    schedule = NoiseSchedule.from_config(SCHEDULER)
    return Networks(parts.unet, Autoencoder(parts.vae), text, schedule)


@pytest.fixture(scope="module")
def mixed(models, tmp_path_factory):
    """Of each kind one, by its seed."""
    of = recipe(save_family(tmp_path_factory.mktemp("recipe")), steps=5)
    a, b, c = CAPTIONS[:3]
    return {
        request.seed: request
        for request in (
            request_of(draw(a, 1, p=0.5, guidance=4.0), of),
            request_of(draw(b, 2, p=0.9, guidance=7.0), of.model_copy(update={"steps": 3})),
            request_of(draw(c, 3), of.model_copy(update={"solver": "ddim", "attention": "none"})),
            plain(a[0], 4, solver="dpm_solver", steps=6),
            plain(b[0], 5, start=Start(normal(5), step=2, noised=True)),
            Request(
                latents=(Guided((Row(c[0]),)),),
                seed=6,
                steps=7,
                solver="ddim_inversion",
                start=Start(normal(6)),
                returns="latents",
            ),
            plain(c[1], 7, solver="dpm_solver", steps=3),
        )
    }


def test_a_mixed_batch_gives_each_what_it_gets_alone(models, mixed):
    together = run(Batch(models, SIZE, 12), list(mixed.values()), apart=1)
    assert set(together) == set(mixed)
    backwards = run(Batch(models, SIZE, 12), list(mixed.values())[::-1], apart=2, first_row=5)
    for seed, request in mixed.items():
        alone = run(Batch(models, SIZE, 12), [request])[seed]
        assert alone.isfinite().all()
        assert torch.equal(together[seed], alone), seed
        assert torch.equal(backwards[seed], alone), seed


def test_edits_in_a_batch_of_their_own_do_so_too(editor):
    settings = {"steps": 4, "text_guidance": 5.0, "image_guidance": 1.5}
    asked = {
        seed: edit_request(normal(seed), words, seed, **(settings | more))
        for seed, words, more in (
            (1, "make it red", {}),
            (2, "make it large", {"solver": "dpm_solver"}),
            (3, "turn it green", {"steps": 6, "text_guidance": 7.5}),
        )
    }
    together = run(Batch(editor, SIZE, 9), list(asked.values()), apart=1)
    for seed, request in asked.items():
        assert torch.equal(together[seed], run(Batch(editor, SIZE, 9), [request])[seed])
    other = replace(asked[1], picture=normal(9))
    assert not torch.equal(together[1], run(Batch(editor, SIZE, 9), [other])[1])


def test_inversion_and_the_way_back_are_a_slow_references(tmp_path):
    """With random weights the way back does not end at the start; a reference's ends as far from it."""
    models = load_models(recipe(save_family(tmp_path)), torch.device("cpu"))
    start, context = normal(1).double(), models.text.context(CAPTIONS[0][0])[None]

    def predict(x, timestep):
        with torch.no_grad():
            return models.unet(x[None], timestep, context).sample[0]

    there = Request(
        latents=(Guided((Row(CAPTIONS[0][0]),)),),
        seed=1,
        steps=20,
        solver="ddim_inversion",
        start=Start(start),
        returns="latents",
    )
    abar = alphas_cumprod(SCHEDULER)
    expected = invert_ddim(abar, predict, start, 20)
    end = sample_unguided(abar, predict, expected[-1], 20)
    (kept,) = run(Batch(models, SIZE, 1), [there]).values()
    torch.testing.assert_close(kept[:, 0], torch.stack(expected), rtol=0, atol=1e-9)
    # From the reference's own end: what 20 steps differ by would grow over 20 more.
    back = replace(there, solver="ddim", start=Start(expected[-1]))
    (found,) = run(Batch(models, SIZE, 1), [back]).values()
    torch.testing.assert_close(found[-1, 0], end, rtol=0, atol=1e-9)


def test_a_latent_that_follows_is_set_before_each_step(models):
    followed = torch.stack([normal(seed) for seed in range(5)])
    request = plain(CAPTIONS[0][0], 1, follows=followed, returns="latents", solver="ddim")
    (kept,) = run(Batch(models, SIZE, 2), [request]).values()
    torch.testing.assert_close(kept[:-1, 0], followed[:-1], rtol=1e-6, atol=1e-6)


def test_a_start_at_a_later_step_is_the_rest_of_the_road(models):
    whole = plain(CAPTIONS[0][0], 1, solver="ddim", steps=6, returns="latents")
    (kept,) = run(Batch(models, SIZE, 2), [whole]).values()
    rest = replace(whole, start=Start(kept[2, 0], step=2))
    (found,) = run(Batch(models, SIZE, 2), [rest]).values()
    assert len(found) == 5
    torch.testing.assert_close(found, kept[2:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picture": torch.zeros(SHAPE)}, "must have no picture for this network, got one"),
        ({"solver": "euler"}, "no solver is called 'euler'"),
        ({"latents": (Guided((Row("a"),)),) * 5}, "must have at most 4 rows, got 5"),
    ],
)
def test_what_a_batch_cannot_hold_is_refused(models, change, message):
    with pytest.raises(ValueError, match=message):
        Batch(models, SIZE, 4).check(replace(plain("a", 1), **change))


def test_a_scale_stands_between_two_rows():
    with pytest.raises(ValueError, match="needs a scale between two rows, got 0 for 2"):
        Guided((Row(None), Row("a")))


class Straight:
    """Euler's method on levels of noise of its own: a solver of which nothing else knows."""

    noisy = remembers = False

    def road(self, schedule, steps):
        timesteps = torch.linspace(900, 300, steps, dtype=torch.float64)
        sigmas = torch.cat([schedule.sigma_at(timesteps), torch.zeros(1, dtype=torch.float64)])
        return Road(timesteps, sigmas, float(sigmas[0]))

    def step(self, x, denoised, at, noise, last):
        assert (noise, last) == (None, None)
        return denoised + (x - denoised) * spread(at.sigma_next / at.sigma, x)


def test_a_solver_is_one_module_where_solvers_are_found(models, monkeypatch):
    module = ModuleType("straight")
    module.SOLVER = Straight()
    monkeypatch.setitem(sys.modules, "factory.engine.solvers.straight", module)
    asked = [plain(c[0], seed, solver="straight") for seed, c in enumerate(CAPTIONS[:2], 1)]
    mates = [plain(CAPTIONS[2][0], 3, solver="dpm_solver"), plain(CAPTIONS[3][0], 4)]
    found = run(Batch(models, SIZE, 8), [*asked, *mates], apart=1)
    road = module.SOLVER.road(models.schedule, 4)
    for request in asked:
        x = hashed_noise(request.seed, "start", SHAPE) * road.start_scale
        told = torch.stack([models.text.context(words) for words in ("", request.prompts[0])])
        for step, timestep in enumerate(road.timesteps):
            sigma, below = road.sigmas[step : step + 2].float()
            with torch.inference_mode():
                seen = (x / (1 + sigma**2).sqrt()).expand(2, *SHAPE)
                nothing, words = models.unet(seen, timestep, told).sample
            x = x + (below - sigma) * (nothing + 3.0 * (words - nothing))
        torch.testing.assert_close(found[request.seed][0], x, rtol=0, atol=1e-3)


def test_attention_of_a_network_in_training_is_left_alone(models, mixed):
    before = tiny_parts(dtype=torch.float32).unet.attn_processors
    parts = tiny_parts(dtype=torch.float32)
    text = TextEncoder(parts.tokenizer, parts.text_encoder)
    networks = Networks(parts.unet, Autoencoder(parts.vae), text, models.schedule)
    batch = Batch(networks, SIZE, 4, controlled=False)
    kinds = {name: type(one) for name, one in parts.unet.attn_processors.items()}
    assert kinds == {name: type(one) for name, one in before.items()}
    with pytest.raises(ValueError, match="cannot be controlled"):
        batch.check(mixed[1])


def test_an_engine_gives_each_what_it_gets_alone_on_any_number_of_threads(editor):
    """9 rows on two threads would give an edit other bytes beside others: the engine adds rows."""
    asked = [
        edit_request(
            normal(seed), "make it red", seed, steps=4, text_guidance=5.0, image_guidance=1.5
        )
        for seed in (1, 2, 3)
    ]
    asked = [replace(request, returns="latents") for request in asked]
    side = LATENT_SIDE * editor.autoencoder.factor
    threads = torch.get_num_threads()
    try:
        engine = Engine(editor, (side, side), rows=9, threads=2)
        together = {id(one.request): one.latents for one in engine.make(asked)}
        assert engine.resident.batch.rows == 12
        for request in asked:
            (alone,) = engine.make([request])
            assert torch.equal(alone.latents, together[id(request)])
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def test_dpm_solver_in_a_batch_is_diffusers():
    """Requests at different steps beside each other, each with what its own last step predicted."""
    parts = tiny_parts(dtype=torch.float64)
    text = TextEncoder(parts.tokenizer, parts.text_encoder)
    schedule = NoiseSchedule.from_config(SCHEDULER)
    networks = Networks(parts.unet, Autoencoder(parts.vae), text, schedule)
    asked = [
        plain(captions[0], seed, solver="dpm_solver", steps=steps)
        for captions, seed, steps in zip(CAPTIONS, (1, 2, 3), (6, 8, 7), strict=False)
    ]
    found = run(Batch(networks, SIZE, 4), asked, apart=1)
    for request in asked:
        told = torch.stack([networks.text.context(words) for words in ("", request.prompts[0])])

        def guided(x, timestep, told=told):
            rows = torch.cat([x, x])
            nothing, words = networks.unet(rows, timestep, encoder_hidden_states=told).sample.chunk(
                2
            )
            return nothing + 3.0 * (words - nothing)

        start = hashed_noise(request.seed, "start", SHAPE).double()[None]
        expected = by_diffusers(dpm_scheduler(), start, request.steps, guided)
        torch.testing.assert_close(found[request.seed], expected, rtol=0, atol=1e-6)
