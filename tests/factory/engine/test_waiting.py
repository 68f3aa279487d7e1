"""Nothing inside a step waits for the device: traced on one that holds no numbers."""

from pathlib import Path

import pytest
import torch

from factory.engine import staging
from factory.engine.attention.cross import CrossAttention
from factory.engine.attention.local_blend import LocalBlend
from factory.engine.autoencoder import Autoencoder
from factory.engine.batch import Batch
from factory.engine.networks import Networks
from factory.engine.request import Guided, Request, Row, Start
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.engine.text.xl import TextEncoderXl
from factory.pairs.prompt_to_prompt import request_of
from tests.factory.engine.family import CAPTIONS, draw, recipe
from tests.factory.engine.tiny import LATENT_SIDE, SCHEDULER, tiny_parts
from tests.factory.engine.tiny_xl import tiny_xl
from tests.factory.engine.waits import META, Waits
from trainer.learning.editor import widen


def resident(unet, parts):
    text = TextEncoder(parts.tokenizer, parts.text_encoder.to(META))
    networks = Networks(
        unet.to(META), Autoencoder(parts.vae), text, NoiseSchedule.from_config(SCHEDULER)
    )
    return Batch(networks, (LATENT_SIDE, LATENT_SIDE), 24)


@pytest.fixture
def batch():
    parts = tiny_parts(dtype=torch.float32)
    return resident(parts.unet, parts)


@pytest.fixture
def editors():
    """Whose network sees a picture."""
    parts = tiny_parts(dtype=torch.float32)
    widen(parts.unet)
    return resident(parts.unet, parts)


RED, GREEN = CAPTIONS[0]
LATENT = (4, LATENT_SIDE, LATENT_SIDE)


class Lent:
    """All rows take the first one's, in every layer and step."""

    def acts(self, layer):
        return True

    def route(self, step, steps):
        return [0, 0, 0]


def requests():
    """Of each kind one."""
    of = recipe(Path("nowhere"), steps=3)
    yield request_of(draw(CAPTIONS[0], 1, p=0.7), of)
    yield request_of(draw(CAPTIONS[1], 2), of.model_copy(update={"solver": "ddim"}))
    latent = Guided((Row(None), Row("a red circle")), (3.0,))
    yield Request(latents=(latent,), seed=3, steps=4, solver="dpm_solver")
    yield Request(latents=(latent,), seed=4, steps=3, returns="latents")
    yield Request(latents=(latent,), seed=5, steps=4, start=Start(torch.zeros(LATENT), 1, True))
    changing = Guided((Row(None), Row("a red circle")), ((3.0, 2.0, 1.0),))
    yield Request(latents=(changing,), seed=6, steps=3, solver="ddim_inversion", returns="latents")
    yield Request(
        latents=(Guided((Row(RED),)), Guided((Row(None), Row(GREEN)), (3.0,))),
        seed=7,
        steps=4,
        solver="ddim",
        start=Start(torch.zeros(LATENT)),
        follows=torch.zeros(5, *LATENT),
        control=Lent(),
        features=Lent(),
        cross=CrossAttention(0, 2, RED, GREEN, "replace", 0.5, weights={"green": 2.0}),
        blend=LocalBlend(0, 2, RED, GREEN, scale=1),
    )


def waits_of(batch, asked):
    """What admission waits for once all words are known, and what the steps wait for."""
    for request in asked:
        for row in request.rows:
            batch.networks.text.words(row.prompt or "")
    with Waits() as admission:
        for request in asked:
            batch.admit(request)
    with Waits() as steps:
        while batch.slots:
            batch.advance()
    return admission.kinds, steps.kinds


def test_neither_admission_nor_a_step_waits_for_the_device(batch):
    assert waits_of(batch, list(requests())) == ({"free copy"}, {"free copy"})


def test_nor_where_the_network_sees_a_picture(editors):
    picture = torch.zeros(LATENT)
    latent = Guided((Row(None, sees_picture=False), Row(None), Row("make it red")), (1.5, 7.0))
    asked = Request(latents=(latent,), seed=1, steps=3, picture=picture)
    assert waits_of(editors, [asked]) == ({"free copy"}, {"free copy"})


def test_nor_where_the_network_is_told_sizes_and_a_second_encoders_words(tmp_path):
    """Stable Diffusion XL."""
    xl = tiny_xl(tmp_path)
    text = TextEncoderXl(
        (xl.tokenizer, xl.tokenizer_2),
        (xl.text_encoder.to(META), xl.text_encoder_2.to(META)),
        zeros=True,
    )
    schedule = NoiseSchedule.from_config(SCHEDULER)
    networks = Networks(xl.unet.to(META), Autoencoder(xl.vae), text, schedule)
    pair = request_of(draw(CAPTIONS[0], 1, p=0.7), recipe(Path("nowhere"), steps=3))
    batch = Batch(networks, (LATENT_SIDE, LATENT_SIDE), 4)
    assert waits_of(batch, [pair]) == ({"free copy"}, {"free copy"})


def test_new_words_are_copied_ahead(batch):
    with Waits() as waits:
        batch.networks.text.words("a circle that nobody asked for before")
    assert waits.kinds == {"free copy"}


def test_values_for_cuda_are_page_locked_first(monkeypatch):
    """Without that a copy blocks, whatever it is told; no CUDA device is asked here."""
    did = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda own: did.append("locked") or own)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda own, device, non_blocking: did.append(non_blocking) or own
    )
    staging.ahead(torch.zeros(3), torch.device("cuda"))
    assert did == ["locked", True]
    staging.ahead(torch.zeros(3), torch.device("cpu"))
    assert did[2:] == [False]


def test_routes_and_latents_stay_where_they_are(batch):
    """Whether rows share anything or not: what was captured reads the same memory."""
    routes, injected = set(), set()
    own, places = batch.router, batch.x
    for request in (None, *requests()):
        if request is not None and batch.fits(request):
            batch.admit(request)
        found = batch._seating.routes(batch.slots, len(own.layers), META)
        routes.add((id(found), tuple(found.shape)))
        features = batch._seating.features(batch.slots, len(own.feature_layers), META)
        injected |= {id(features)} if features is not None else set()
        batch.advance()
    batch.clear()
    assert (len(routes), len(injected)) == (1, 1)
    assert batch.x is places


def test_the_trace_sees_what_waits(batch):
    """Each of what it looks for, once."""
    with Waits() as waits:
        batch.x.copy_(torch.zeros(batch.x.shape))
        torch.zeros(3).to(META)
        torch.zeros(3).to(META, non_blocking=True)
    assert waits.found == {"blocking copy": 2, "free copy": 1}
