"""Nothing inside a step waits for the device: traced on one that holds no numbers."""

from pathlib import Path

import pytest
import torch

from factory.engine import decoder, staging
from factory.engine.attention.cross import CrossAttention
from factory.engine.attention.local_blend import LocalBlend
from factory.engine.autoencoder import Autoencoder
from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_models
from factory.engine.clip_scorer import ClipScorer
from factory.engine.decoder import Decoder
from factory.engine.networks import Models, Networks
from factory.engine.request import Guided, Request, Row, Start
from factory.engine.seating import Seating
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.engine.text.xl import TextEncoderXl
from factory.pairs.prompt_to_prompt import request_of
from tests.factory.engine.family import CAPTIONS, draw, recipe, save_family
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


def xl_text(xl):
    """Its two encoders on the device."""
    encoders = (xl.text_encoder.to(META), xl.text_encoder_2.to(META))
    return TextEncoderXl((xl.tokenizer, xl.tokenizer_2), encoders, zeros=True)


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
    schedule = NoiseSchedule.from_config(SCHEDULER)
    networks = Networks(xl.unet.to(META), Autoencoder(xl.vae), xl_text(xl), schedule)
    pair = request_of(draw(CAPTIONS[0], 1, p=0.7), recipe(Path("nowhere"), steps=3))
    batch = Batch(networks, (LATENT_SIDE, LATENT_SIDE), 4)
    assert waits_of(batch, [pair]) == ({"free copy"}, {"free copy"})


NEW = "a circle that nobody asked for before"


def test_new_words_are_copied_ahead(batch):
    with Waits() as waits:
        batch.networks.text.words(NEW)
    assert waits.kinds == {"free copy"}


def test_so_are_new_words_of_two_encoders(tmp_path):
    text = xl_text(tiny_xl(tmp_path))
    with Waits() as waits:
        text.words(NEW)
    assert waits.found == {"free copy": 2, "blocking copy": 0}


@pytest.fixture
def on_host(monkeypatch):
    """What decoders bring to the host at once: sizes and numbers. A device without numbers gives zeros."""
    asked = []

    def brought(values):
        assert {value.device for value in values} == {META}
        asked.append([(tuple(value.shape), value.dtype) for value in values])
        return [torch.zeros_like(value, device="cpu") for value in values]

    monkeypatch.setattr(decoder, "home", brought)
    return asked


def decoding(folder):
    """The networks that decode and score."""
    of = load_models(recipe(save_family(folder), dtype="float32"), torch.device("cpu"))
    clip = of.clip
    return Models(
        of.unet.to(META),
        Autoencoder(of.autoencoder.network.to(META)),
        TextEncoder(of.text.tokenizer, of.text.encoder.to(META)),
        of.schedule,
        ClipScorer(clip.model.to(META), clip.tokenize, clip.mean.to(META), clip.deviation.to(META)),
    )


def test_decoding_and_scoring_wait_once_for_all_that_is_done(on_host, tmp_path):
    networks = decoding(tmp_path)
    pairs = [request_of(draw(CAPTIONS[n], n), recipe(tmp_path)) for n in range(2)]
    guided = Guided((Row("a red circle"),))
    alone = Request(latents=(guided,), seed=3, steps=1)
    latents = Request(latents=(guided,), seed=4, steps=1, returns="latents")
    done = [(one, torch.zeros(2, *LATENT, device=META)) for one in pairs]
    done += [(one, torch.zeros(1, *LATENT, device=META)) for one in (alone, latents)]
    with Waits() as waits:
        Decoder(networks, 4).finish(done)
    # What comes home is bytes, and of each pair the scores; prompts go there ahead.
    side = LATENT_SIDE * networks.autoencoder.factor
    pixels = [((4, 3, side, side), torch.uint8), ((1, 3, side, side), torch.uint8)]
    assert on_host == [[((5,), torch.bool), *pixels, ((2, 4), torch.float32)]]
    assert waits.kinds == {"free copy"}
    with Waits() as waits:
        Decoder(networks, 4).finish(done[-1:])
    assert (len(on_host), waits.kinds) == (1, set())


def test_values_come_home_from_cuda_all_together(monkeypatch):
    """Copies that nobody waits for, then one wait, for the stream that makes them."""
    did = []

    class Far:
        device = torch.device("cuda")

        def to(self, device, non_blocking):
            did.append((device, non_blocking))
            return self

    class Stream:
        def record_event(self):
            did.append("recorded")
            return self

        def synchronize(self):
            did.append("waited")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    staging.home([Far(), Far()])
    assert did == [("cpu", True), ("cpu", True), "recorded", "waited"]
    did.clear()
    (here,) = staging.home([torch.ones(2)])
    assert (here.tolist(), did) == ([1, 1], [])


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
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda own: True)
    staging.ahead(torch.zeros(3), torch.device("cuda"))
    # A thread has locked it before.
    assert did[3:] == [True]


def test_routes_and_latents_stay_where_they_are(batch, monkeypatch):
    """Whether rows share anything or not: what was captured reads the same memory."""
    routes, injected, told, take = set(), set(), [], Seating.take
    monkeypatch.setattr(Seating, "take", lambda *given: told.append(take(*given)) or told[-1])
    places = batch.x
    for request in (None, *requests()):
        if request is not None and batch.fits(request):
            batch.admit(request)
        batch.advance()
        routes.add((id(told[-1].attention), tuple(told[-1].attention.shape)))
        injected |= {id(told[-1].features)} if told[-1].features is not None else set()
    batch.clear()
    assert (len(routes), len(injected)) == (1, 1)
    assert batch.x is places


def test_the_trace_sees_what_waits(batch):
    """Each of what it looks for; one whose numbers change on the way blocks."""
    with Waits() as waits:
        batch.x.copy_(torch.zeros(batch.x.shape))
        torch.zeros(3).to(META)
        torch.zeros(3).to(META, torch.float64, non_blocking=True)
        torch.zeros(3).to(META, non_blocking=True)
    assert waits.found == {"blocking copy": 3, "free copy": 1}


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: float(x.sum()), "_local_scalar_dense"),
        (lambda x: bool((x > 0).any()), "_local_scalar_dense"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x[x > 0], None),
        (lambda x: torch.equal(x, x + 1), "equal"),
        (lambda x: x.tolist(), "blocking copy"),
        (lambda x: x.cpu(), "blocking copy"),
    ],
    ids=["item", "float", "bool", "nonzero", "mask", "equal", "tolist", "cpu"],
)
@pytest.mark.parametrize("inference", [True, False])
def test_the_trace_sees_what_reads(batch, read, name, inference):
    """A device without numbers refuses as well; a choice by a mask it refuses before it is seen."""
    with (
        torch.inference_mode(inference),
        Waits() as waits,
        pytest.raises((RuntimeError, NotImplementedError)),
    ):
        read(batch.x)
    assert waits.kinds == ({name} if name else set())
