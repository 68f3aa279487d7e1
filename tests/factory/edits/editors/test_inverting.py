"""`p2p` and `pnp` on the miniature beside slow references with materialised maps, at no square."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from factory.edits.editors.pnp import alphas, guided
from factory.edits.prepare import pinned
from factory.errors import ModelError
from schemas.editors import P2p, Pnp
from schemas.edits import EditRecipe
from schemas.recipe import WordMaps
from tests.factory.edits.editors.test_editors import item, scene, studio
from tests.factory.engine.attention.reference_controls import (
    Controls,
    controlled,
    noise_of,
    refinement,
    replacement,
)
from tests.factory.engine.reference_samplers import ddim_timesteps

torch.set_num_threads(1)
MODEL = {"source": "miniature"}
SOURCE = "a large blue star on a white background"
TARGET = "a large red star on a white background"
FEWER = "a red star on a white background"
STEPS = 5
BOUNDS = {"float64": 1e-9, "float32": 1e-4}


def asked(name, **fields):
    captions = {"source_caption": SOURCE, "target_caption": TARGET}
    return item(editor=name, **captions | fields)


def made(settings, target=TARGET):
    """Both latents at the end, the networks, and the latent that they were made from."""
    editor = studio(**{settings.NAME: settings}).editor(settings.NAME)
    procedure, _ = editor.begin(asked(settings.NAME, target_caption=target), scene())
    ((_, result),) = editor.engine.carry_out([latents_too(procedure)])
    pixels = torch.from_numpy(scene().transpose(2, 0, 1).copy())[None]
    networks = editor.networks
    with torch.inference_mode():
        start = networks.autoencoder.unit(networks.autoencoder.moments(pixels)[0][0])
    return result.latents[-1], networks, start.double()


def latents_too(procedure):
    """The same, its last request asked for latents."""
    request = next(procedure)
    while True:
        wanted = request if request.levels else replace(request, returns="latents")
        result = yield wanted
        try:
            request = procedure.send(result)
        except StopIteration:
            return


def abar_of(networks):
    return 1 / (1 + networks.schedule.sigmas**2)


@torch.no_grad()
def inverted(networks, start, caption, steps):
    """Timestep to latent, 0 for the clean one: the network is told x_s and t, the target's timestep."""
    abar, context = abar_of(networks), networks.text.context(caption)[None]
    found, a, x = {0: start}, abar[0], start
    for t in reversed(ddim_timesteps(len(abar), steps)):
        output = networks.unet(x[None].to(networks.unet.dtype), t, context).sample[0]
        noise = noise_of(output, x, a, networks.schedule.prediction)
        clean = (x - (1 - a).sqrt() * noise) / a.sqrt()
        a = abar[t]
        x = found[t] = a.sqrt() * clean + (1 - a).sqrt() * noise
    return found


def expected(networks, start, inversion, told, guided, controls):
    """Both latents by the references; `inversion` is its caption and its steps."""
    way = inverted(networks, start, *inversion)
    followed = [way[t] for t in ddim_timesteps(1000, STEPS)] + [way[0]]
    contexts = torch.stack([networks.text.context(words) for words in told])
    of = [latent for latent, (rows, _) in enumerate(guided) for _ in rows]
    begun = [followed[0]] * 2
    return controlled(
        networks.unet, abar_of(networks), contexts, of, guided, begun, controls, STEPS, followed,
        networks.schedule.prediction,
    )  # fmt: skip


def assert_same(ours, theirs, dtype):
    bound = BOUNDS[dtype]
    for latent in (0, 1):
        torch.testing.assert_close(ours[latent].double(), theirs[latent], rtol=bound, atol=bound)


@pytest.mark.parametrize(
    ("target", "blend", "dtype"),
    [
        pytest.param(target, blend, dtype, marks=[] if often else pytest.mark.long)
        for target, blend, dtype, often in (
            (TARGET, True, "float64", True), (FEWER, True, "float64", True),
            (TARGET, True, "float32", True), (FEWER, True, "float32", False),
            (TARGET, False, "float64", False), (FEWER, False, "float64", False),
        )
    ],
)  # fmt: skip
def test_p2p_is_the_slow_reference(target, blend, dtype):
    maps = WordMaps(new_words=1.5, blend=blend, blend_scale=2, blend_threshold=0.6)
    settings = P2p(
        model=MODEL, dtype=dtype, steps=STEPS, inversion_steps=STEPS, text_guidance=2.0, self_scale=2,
        maps=maps,
    )  # fmt: skip
    ours, networks, start = made(settings, target)
    tokenizer = networks.text.tokenizer
    length = tokenizer.model_max_length
    # Of one token each, after the start and "a": "large blue" becomes "large red" or "red".
    old, new = (torch.zeros(length) for _ in range(2))
    old[[3] if target == TARGET else [2, 3]] = 1
    new[3 if target == TARGET else 2] = 1
    weights = 1 + 0.5 * new
    coarse = ("down_blocks.1.", "mid_block.", "up_blocks.0.")
    kind, mapping = ("replace", replacement) if target == TARGET else ("refine", refinement)
    shares, mapper = torch.full((length,), 0.8).double(), mapping(tokenizer, SOURCE, target)
    controls = Controls(
        0, 2, kind, shares, mapper, weights, self_share=0.4, self_rows={2: 0},
        self_layers=lambda name: name.startswith(coarse),
    )  # fmt: skip
    if blend:
        controls.blend = (old, new, 0.6, 0.2, 8 * 12)
    rows = [([0], []), ([1, 2], [2.0])]
    told = [SOURCE, "", target]
    assert_same(ours, expected(networks, start, (SOURCE, STEPS), told, rows, controls), dtype)
    assert (ours[1].double() - start).abs().max() > 0.1


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("alpha", [pytest.param(None, marks=pytest.mark.long), 0.75])
def test_pnp_is_the_slow_reference(alpha, dtype):
    settings = Pnp(
        model=MODEL, dtype=dtype, steps=STEPS, inversion_steps=20, text_guidance=2.0,
        negative_prompt="a small cross", negative_alpha=alpha, alpha_schedule="constant",
        feature_layers=["up.0.0"], attention_layers=["up"],
    )  # fmt: skip
    ours, networks, start = made(settings)
    rows = [1, 2] if alpha is None else [1, 2, 3]
    controls = Controls(
        0, rows[-1], self_share=0.5, self_rows=dict.fromkeys(rows, 0), feature_share=0.8,
        self_layers=lambda name: name.startswith("up_blocks."),
        features=lambda name: name == "up_blocks.0.resnets.0.conv2",
    )  # fmt: skip
    told = ["", *([] if alpha is None else [""]), "a small cross", TARGET]
    # e = a e_empty + (1 - a) e_negative, then n + s (e_caption - n), written as a ladder.
    scales = [2.0] if alpha is None else [1 + alpha, 2.0]
    guided_rows = [([0], []), (rows, scales)]
    assert_same(ours, expected(networks, start, ("", 20), told, guided_rows, controls), dtype)


def test_what_pnp_leads_away_from():
    """n = a e_empty + (1 - a) e_negative; e = n + s (e_caption - n), by numbers."""
    settings = Pnp(model=MODEL, steps=5, inversion_steps=5, negative_alpha=0.8)
    scales = guided(settings, "a", 3.0).scales
    empty, negative, caption = 0.3, -1.2, 2.5
    for step, a in enumerate(alphas(0.8, "linear", 5)):
        n = a * empty + (1 - a) * negative
        ladder = empty + scales[0][step] * (negative - empty) + scales[1] * (caption - negative)
        assert ladder == pytest.approx(n + 3.0 * (caption - n))
    assert alphas(0.8, "linear", 5) == pytest.approx([0.8, 0.6, 0.4, 0.2, 0])
    assert alphas(1, "exp", 2) == pytest.approx([1, np.exp(-6)])
    assert alphas(0.5, "constant", 2) == [0.5, 0.5]


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [
        P2p(model=MODEL, steps=4, inversion_steps=4, self_scale=2),
        Pnp(model=MODEL, steps=4, inversion_steps=8, feature_layers=["up.0.0"], attention_layers=["up"]),
    ],
    ids=["p2p", "pnp"],
)  # fmt: skip
def test_pictures_beside_others_of_other_sizes_are_what_they_are_alone(settings):
    of = studio(**{settings.NAME: settings})
    sizes = [(64, 64), (150, 100), (64, 64)]
    wanted = [(asked(settings.NAME, key=f"{n}.png"), scene(size)) for n, size in enumerate(sizes)]
    together = dict(of.edit(wanted))
    for place, one in enumerate(wanted):
        assert together[place].picture.shape == one[1].shape
        np.testing.assert_array_equal(dict(of.edit([one]))[0].picture, together[place].picture)


@pytest.mark.parametrize(
    ("steps", "inversion"), [(50, 999), (50, 50), (50, 100), (25, 200), (24, 24)]
)
def test_an_inversion_passes_every_step(steps, inversion):
    settings = P2p(model=MODEL, steps=steps, inversion_steps=inversion)
    fine = ddim_timesteps(1000, inversion)[::-1]
    there = [0 if level == 0 else fine[level - 1] for level in settings.levels]
    assert there == [0, *ddim_timesteps(1000, steps)[::-1]]


@pytest.mark.parametrize(("steps", "inversion"), [(50, 75), (50, 25), (20, 30)])
def test_an_inversion_that_does_not_is_refused(steps, inversion):
    with pytest.raises(ValidationError, match="must pass every step of"):
        P2p(model=MODEL, steps=steps, inversion_steps=inversion)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            Pnp(model=MODEL, attention_layers=["up.2"]),
            "attention_layers: must be among the network's",
        ),
        (
            Pnp(model=MODEL, attention_layers=["up"], feature_layers=["up.1.7"]),
            "feature_layers: .* 'up.1.7'",
        ),
        (P2p(model=MODEL), "self_scale: must be at most the network's 2, got 4"),
        (
            P2p(model=MODEL, self_scale=2, maps={"blend": True}),
            "maps.blend_scale: .* the network's 1, 2, got 4",
        ),
    ],
)
def test_layers_that_the_network_has_not_are_refused(settings, message):
    with pytest.raises(ModelError, match=f"recipe.{settings.NAME}.{message}"):
        pinned(EditRecipe(editor=settings.NAME, size_px=64, **{settings.NAME: settings}), None)


@pytest.mark.parametrize("name", ["p2p", "pnp"])
def test_edits_of_one_picture_share_its_inversion(name):
    settings = {
        "p2p": P2p(model=MODEL, steps=4, inversion_steps=4, self_scale=2),
        "pnp": Pnp(
            model=MODEL,
            steps=4,
            inversion_steps=4,
            attention_layers=("up",),
            feature_layers=("up.0.0",),
        ),
    }[name]
    other = np.ascontiguousarray(scene()[::-1])
    wanted = [
        (asked(name, text_guidance=2.0), scene()),
        (asked(name, text_guidance=5.0), scene()),
        (asked(name, text_guidance=2.0), other),
    ]

    def edited(*some):
        editor = studio(**{name: settings}).editor(name)
        found = dict(editor.edit(some))
        return [found[place].picture for place in range(len(some))], editor.rows_run

    together, rows = edited(*wanted)
    alone = [edited(one) for one in wanted]
    for found, (pictures, _) in zip(together, alone, strict=True):
        assert (found == pictures[0]).all()
    assert (together[0] != together[1]).any()
    # Two inversions of four steps for three edits.
    assert rows == sum(each for _, each in alone) - 4
