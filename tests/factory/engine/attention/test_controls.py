"""Each control beside slow references with materialised maps; and beside batch mates, bit for bit."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.attention_processor import Attention
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from factory.engine.attention import routing
from factory.engine.attention.borrowed import Borrowed
from factory.engine.attention.cross import CrossAttention, CrossState, EditedMap, MapColumns
from factory.engine.attention.layer import Layer
from factory.engine.attention.local_blend import LocalBlend
from factory.engine.attention.prompt_to_prompt import word_maps
from factory.engine.attention.routing import Sharing
from factory.engine.attention.words import word_tokens
from factory.engine.autoencoder import Autoencoder
from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_models
from factory.engine.networks import Networks
from factory.engine.request import Guided, Request, Row, Start
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.pairs.prompt_to_prompt import request_of
from factory.seeds import noise
from schemas.recipe import WordMaps
from tests.factory.engine.attention.reference_controls import (
    Controls,
    controlled,
    refinement,
    replacement,
)
from tests.factory.engine.family import draw, recipe, run, save_family
from tests.factory.engine.reference_samplers import alphas_cumprod
from tests.factory.engine.tiny import LATENT_SIDE, SCHEDULER, tiny_parts

torch.set_num_threads(1)
SIZE = (LATENT_SIDE, LATENT_SIDE)
STEPS = 6
SOURCE = "a small red circle on a blue background"
TARGETS = {
    "replace": "a small zebra circle on a blue background",
    "refine": "a red star on a blue background",
}


def networks(dtype=torch.float64):
    parts = tiny_parts(dtype=dtype)
    text = TextEncoder(parts.tokenizer, parts.text_encoder)
    return Networks(parts.unet, Autoencoder(parts.vae), text, NoiseSchedule.from_config(SCHEDULER))


def normal(seed):
    return torch.randn(
        (4, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def asked(models, kind, **fields):
    """An edit of a picture whose way back is known: source, target without and with its caption."""
    target = TARGETS[kind or "replace"]
    latents = (Guided((Row(SOURCE),)), Guided((Row(None), Row(target)), (3.0,)))
    followed = torch.stack([normal(9 + step) for step in range(STEPS + 1)])
    request = Request(
        latents=latents, seed=1, steps=STEPS, solver="ddim", start=Start(followed[0]), follows=followed,
        returns="latents",
    )  # fmt: skip
    if kind:
        cross = CrossAttention(0, 2, SOURCE, target, kind, 0.6)
        request = replace(request, cross=replace(cross, **fields))
    return request


def slowly(models, request, controls):
    """Both latents at the end by the reference; the request's rows are those of `asked`."""
    target = request.latents[1].rows[-1].prompt
    told = [models.text.context(words) for words in (SOURCE, "", target)]
    guided = [([0], []), ([1, 2], [3.0])]
    followed = list(request.follows)
    return controlled(
        models.unet, alphas_cumprod(SCHEDULER), torch.stack(told), [0, 1, 1], guided,
        [followed[0], followed[0]], controls, STEPS, followed,
    )  # fmt: skip


def expected_controls(models, request, kind, weights=None, shares=None):
    tokenizer, target = models.text.tokenizer, request.latents[1].rows[-1].prompt
    length = tokenizer.model_max_length
    cross = torch.full((length,), 0.6).double()
    for places, share in (shares or {}).items():
        cross[list(places)] = share
    mapper = (replacement if kind == "replace" else refinement)(tokenizer, SOURCE, target)
    return Controls(0, 2, kind, cross, mapper, weights)


def assert_same(models, request, controls, dtype):
    expected = slowly(models, request, controls)
    (found,) = run(Batch(models, SIZE, 4), [request]).values()
    bound = {torch.float64: 1e-9, torch.float32: 1e-4}[dtype]
    for latent in (0, 1):
        # The networks are random, and latents grow to 20: they are compared at unit variance. At their own
        # the reference in float32 differs from itself in float64 by 0.8e-4 on one processor.
        spread = expected[latent].std() if dtype == torch.float32 else 1
        torch.testing.assert_close(
            found[-1, latent].double() / spread, expected[latent] / spread, rtol=bound, atol=bound
        )
    return found[-1, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["replace", "refine"])
def test_cross_attention_is_that_of_materialised_maps(kind, dtype):
    models = networks(dtype)
    request = asked(models, kind)
    made = assert_same(models, request, expected_controls(models, request, kind), dtype)
    plain = replace(request, cross=None)
    (without,) = run(Batch(models, SIZE, 4), [plain]).values()
    assert (without[-1, 1] - made).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["replace", "refine"])
def test_words_are_weighed_and_have_shares_of_their_own(kind, dtype):
    models = networks(dtype)
    request = asked(
        models,
        kind,
        weights={"circle": -1.0, "Background": 3.0, "absent": 9.0},
        shares={"blue": 0.2},
    )
    target = TARGETS[kind].split()
    weights, shares = torch.ones(models.text.tokenizer.model_max_length), {}
    from tests.factory.engine.attention.reference_controls import spans

    places = spans(models.text.tokenizer, TARGETS[kind])
    for word, value in (("circle", -1.0), ("background", 3.0)):
        if word in target:
            weights[places[target.index(word)]] = value
    shares[tuple(places[target.index("blue")])] = 0.2
    expected = expected_controls(models, request, kind, weights, shares)
    assert_same(models, request, expected, dtype)


def test_a_recipe_weighs_single_words_of_those_captions_that_have_them():
    maps = WordMaps(new_words=2.0, weights={"red": -1.5, "absent": 9})
    cross, _ = word_maps(maps, 0, 1, "a red ball", "a red cube")
    assert cross.weights == {"cube": 2.0, "red": -1.5, "absent": 9}
    tokenizer = networks(torch.float64).text.tokenizer
    weighed = EditedMap(cross, tokenizer).source.sum(0)
    usual = EditedMap(replace(cross, weights={}), tokenizer).source.sum(0)
    red, cube = (word_tokens(tokenizer, "a red cube", word) for word in (1, 2))
    changed = {place for place in range(len(usual)) if weighed[place] != usual[place]}
    assert changed == {*red, *cube}
    assert (weighed[red] == -1.5 * usual[red]).all()
    for word in ("Red", "red ball", ""):
        with pytest.raises(ValidationError, match="must be of one word in small letters"):
            WordMaps(weights={word: 1})
    # What a release before had hashed without them keeps its hash.
    assert "weights" not in WordMaps().identity()
    assert WordMaps.filled({"share": 0.5}) == {"share": 0.5, "weights": {}}


@pytest.mark.parametrize("attention", ["none", "self"])
@pytest.mark.parametrize("blend", [False, True])
def test_pairs_have_their_word_maps_edited(attention, blend, tmp_path):
    """As a recipe's option, alone and with InstructPix2Pix's self-attention."""
    maps = {
        "share": 0.6,
        "new_words": 2.0,
        "blend": blend,
        "blend_scale": 2,
        "blend_threshold": 0.9,
    }
    family = save_family(tmp_path)
    of = recipe(family, steps=5, solver="ddim", attention=attention, cross=maps)
    models = load_models(of, torch.device("cpu"))
    captions = (SOURCE, TARGETS["replace"])
    request = request_of(draw(captions, 1, p=0.5, guidance=4.0), of)
    (found,) = run(Batch(models, SIZE, 4), [request]).values()
    tokenizer, start = models.text.tokenizer, torch.from_numpy(noise(1, "start", (4, *SIZE)))
    length = tokenizer.model_max_length
    words = LocalBlend(1, 3, *captions).words(tokenizer)
    # p = 0.5 is two of five steps.
    controls = Controls(
        1, 3, "replace", torch.full((length,), 0.6).double(), replacement(tokenizer, *captions),
        1 + words[1],
        self_share=0.4 if attention == "self" else 0, self_rows={2: 0, 3: 1},
    )  # fmt: skip
    if blend:
        controls.blend = (*words, 0.9, 0.2, LATENT_SIDE**2 // 4)
    contexts = torch.stack([models.text.context(one) for one in ("", SOURCE, "", captions[1])])
    expected = controlled(
        models.unet, alphas_cumprod(SCHEDULER), contexts, [0, 0, 1, 1],
        [([0, 1], [4.0]), ([2, 3], [4.0])], [start.double()] * 2, controls, 5,
    )  # fmt: skip
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-9)
    plain = of.model_copy(update={"cross": None})
    assert plain.recipe_hash != of.recipe_hash
    (without,) = run(Batch(models, SIZE, 4), [request_of(draw(captions, 1), plain)]).values()
    # The original is the same, the edit another.
    torch.testing.assert_close(found[0], without[0], rtol=1e-9, atol=1e-9)
    assert (found[1] - without[1]).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_self_attention_of_coarse_layers_is_borrowed_beside_it(dtype):
    models = networks(dtype)
    request = asked(models, "replace")
    request = replace(request, control=Borrowed((0, 1, 0), 0.5, least_scale=2))
    controls = expected_controls(models, request, "replace")
    controls.self_share, controls.self_rows = 0.5, {2: 0}
    coarse = ("down_blocks.1.", "mid_block.", "up_blocks.0.")
    controls.self_layers = lambda name: name.startswith(coarse)
    made = assert_same(models, request, controls, dtype)
    (all_layers,) = run(
        Batch(models, SIZE, 4), [replace(request, control=Borrowed((0, 1, 0), 0.5))]
    ).values()
    assert (made - all_layers[-1, 1]).abs().max() > 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("kind", "scale", "threshold"), [("replace", 1, 0.8), ("replace", 2, 0.9), ("refine", 2, 0.9)]
)
def test_local_blend_is_that_of_materialised_maps(kind, scale, threshold, dtype):
    models = networks(dtype)
    request = asked(models, kind)
    target = request.latents[1].rows[-1].prompt
    blend = LocalBlend(0, 2, SOURCE, target, threshold, 0.2, scale)
    request = replace(request, blend=blend)
    controls = expected_controls(models, request, kind)
    columns = blend.words(models.text.tokenizer)
    assert (columns.sum(1) > 0).all()
    controls.blend = (*columns, threshold, 0.2, LATENT_SIDE**2 // scale**2)
    made = assert_same(models, request, controls, dtype)
    kept = made.isclose(request.follows[-1].to(made), rtol=1e-5, atol=1e-6)
    # Some of the picture is the source's, and some is edited.
    assert 0 < kept.all(0).sum() < kept.all(0).numel()


@pytest.mark.parametrize(
    ("source", "target", "marked"),
    [
        ("a red cube and a blue ball", "a blue cube and a red ball", ({1, 5}, {1, 5})),
        ("a small red circle", "a red circle", ({1}, set())),
        ("a red circle", "a small red circle", (set(), {1})),
        ("a red circle", "a red star", ({2}, {2})),
        ("a red circle", "a red circle", (set(), set())),
    ],
)
def test_words_count_in_which_two_captions_differ_where_they_stand(source, target, marked):
    tokenizer = tiny_parts().tokenizer
    found = LocalBlend(0, 1, source, target).words(tokenizer)
    for row, prompt in enumerate((source, target)):
        tokens = [set(word_tokens(tokenizer, prompt, n)) for n in range(len(prompt.split()))]
        expected = set().union(*(tokens[number] for number in marked[row]))
        assert set(found[row].nonzero().flatten().tolist()) == expected


def test_without_a_word_that_differs_the_edit_counts_everywhere():
    models = networks(torch.float32)
    plain = asked(models, "replace")
    blend = LocalBlend(0, 2, SOURCE, SOURCE, 0.3, 0.2, 2)
    (expected,) = run(Batch(models, SIZE, 4), [plain]).values()
    (found,) = run(Batch(models, SIZE, 4), [replace(plain, blend=blend)]).values()
    assert torch.equal(found, expected)


def test_sums_of_maps_are_kept_in_full_precision_whatever_the_networks_have():
    blend = LocalBlend(0, 1, SOURCE, SOURCE, scale=2)
    slot = SimpleNamespace(request=SimpleNamespace(blend=blend), places=[0, 1], maps=None)
    batch = SimpleNamespace(slots=[slot], shape=(4, 2, 2))
    step = torch.tensor([[0.15], [0.1]], dtype=torch.bfloat16)
    for _ in range(100):
        Batch._add_maps(batch, SimpleNamespace(maps={2: [step, step]}))
    assert slot.maps.dtype == torch.float32
    assert slot.maps.flatten().tolist() == pytest.approx([100 * x for x in step.flatten().tolist()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_plug_and_play_is_that_of_injected_maps_and_features(dtype):
    models = networks(dtype)
    request = asked(models, "")
    request = replace(
        request,
        control=Borrowed((0, 0, 0), 0.5, ("up",)),
        features=Borrowed((0, 0, 0), 0.8, ("up.0.0",)),
    )
    controls = Controls(
        0, 2, self_share=0.5, self_rows={1: 0, 2: 0},
        self_layers=lambda name: name.startswith("up_blocks."),
        features=lambda name: name == "up_blocks.0.resnets.0.conv2", feature_share=0.8,
    )  # fmt: skip
    made = assert_same(models, request, controls, dtype)
    for lacking in ({"features": None}, {"control": None}):
        (other,) = run(Batch(models, SIZE, 4), [replace(request, **lacking)]).values()
        assert (other[-1, 1] - made).abs().max() > 1e-3


@given(
    st.integers(0, 2**31),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(2, 9),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_columns_of_maps_move_to_the_values(seed, rows, heads, positions, tokens, width):
    """(A_source P + A_own diag(b)) V, with the maps written out, for any rows, P and b."""
    drawn = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(shape, generator=drawn, dtype=torch.float64)

    wide = heads * width
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attn = Attention(wide, cross_attention_dim=wide, heads=heads, dim_head=width).double()
    shown, told = some(rows, positions, wide), some(rows, tokens, wide)
    cross = CrossState(rows, tokens, torch.float64, torch.device("cpu"))
    sources = torch.randint(rows, (rows,), generator=drawn).tolist()
    columns = [MapColumns(some(tokens, tokens), some(tokens)) for _ in range(rows)]
    for row in range(1, rows):
        cross.take(row, sources[row], columns[row])
    router = SimpleNamespace(now=Sharing(torch.zeros(1, rows, dtype=torch.int64), cross=cross))
    processor = routing._EditedCrossAttention(router, Layer("up.1.1", 1))
    with torch.inference_mode():
        found = processor(attn, shown, told)
        q, k, v = (
            part.unflatten(2, (heads, width)).transpose(1, 2)
            for part in (attn.to_q(shown), attn.to_k(told), attn.to_v(told))
        )
        maps = (q @ k.transpose(2, 3) * attn.scale).softmax(-1)
        edited = [maps[0]] + [
            maps[sources[row]] @ columns[row].source + maps[row] * columns[row].own
            for row in range(1, rows)
        ]
        expected = attn.to_out[0]((torch.stack(edited) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.long)]
)
def test_a_controlled_request_and_its_batch_mates_are_what_they_are_alone(dtype):
    models = networks(dtype)
    plain = replace(asked(models, ""), seed=2)
    fresh = run(Batch(models, SIZE, 12), [plain])[2]
    crossed = replace(asked(models, "refine"), seed=3, steps=4, follows=None, start=None)
    target = TARGETS["replace"]
    blend = LocalBlend(0, 2, SOURCE, target, 0.6, scale=2)
    blended = replace(asked(models, "replace"), seed=4, blend=blend)
    injected = replace(
        plain,
        seed=5,
        features=Borrowed((0, 0, 0), 0.8, ("up.0.0",)),
        control=Borrowed((0, 0, 0), 0.5),
    )
    everyone = [plain, crossed, blended, injected]
    together = run(Batch(models, SIZE, 12), everyone, apart=1)
    backwards = run(Batch(models, SIZE, 12), everyone[::-1], apart=2, first_row=5)
    assert torch.equal(fresh, together[2])
    for request in everyone:
        alone = run(Batch(models, SIZE, 12), [request])[request.seed]
        assert torch.equal(alone, together[request.seed]), request.seed
        assert torch.equal(alone, backwards[request.seed]), request.seed


def test_a_row_that_left_is_nobodys_any_more():
    state = CrossState(3, 4, torch.float32, torch.device("cpu"))
    state.take(1, 0, MapColumns(torch.eye(4), torch.zeros(4)))
    assert state.source_row.tolist() == [0, 0, 2]
    state.leave([1])
    assert state.source_row.tolist() == [0, 1, 2]
    assert not state.source.any()
    assert state.own.eq(1).all()


def test_latents_of_some_levels_are_returned():
    models = networks(torch.float32)
    request = asked(models, "")
    (all_of_them,) = run(Batch(models, SIZE, 4), [request]).values()
    (some,) = run(Batch(models, SIZE, 4), [replace(request, levels=(0, 3, STEPS))]).values()
    assert torch.equal(some, all_of_them[[0, 3, STEPS]])


def test_a_blend_of_a_scale_that_the_network_lacks_is_refused():
    models = networks(torch.float32)
    request = replace(asked(models, "replace"), blend=LocalBlend(0, 2, SOURCE, SOURCE, scale=8))
    with pytest.raises(ValueError, match="must be of a scale that this network attends at, got 8"):
        Batch(models, SIZE, 4).check(request)
