"""The reference itself: what must hold before anything is compared with it."""

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.factory.engine.reference import (
    MaterialisedAttention,
    Parts,
    Solver,
    is_controlled,
    reference_latents,
    reference_pair,
)
from tests.factory.engine.reference_samplers import PredictionType
from tests.factory.engine.tiny import (
    IMAGE_SIDE,
    LATENT_SIDE,
    SCALING_FACTOR,
    SCHEDULER,
    SELF_ATTENTION_LAYERS,
    tiny_parts,
)

torch.set_num_threads(1)

RED = "a large red circle on a blue background"
GREEN = "a large green circle on a blue background"
SCHEDULERS: Any = diffusers  # whose constructors carry no types
STEPS = 4
SOLVERS: tuple[Solver, ...] = ("euler_ancestral", "ddim")
PREDICTIONS: tuple[PredictionType, ...] = ("epsilon", "v_prediction")


@pytest.fixture(scope="module")
def parts() -> Parts:
    return tiny_parts(0, torch.float64)


def noise(index: int, seed: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + index)
    shape = (4, LATENT_SIDE, LATENT_SIDE)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def sample(
    parts: Parts,
    original: str = RED,
    edited: str = GREEN,
    *,
    p: float = 0.5,
    guidance: float = 7.5,
    steps: int = STEPS,
    solver: Solver = "euler_ancestral",
    decode: bool = False,
) -> tuple[Tensor, Tensor]:
    draw: Callable[..., tuple[Tensor, Tensor]] = reference_pair if decode else reference_latents
    return draw(
        parts,
        original,
        edited,
        p=p,
        guidance=guidance,
        steps=steps,
        initial_noise=noise(0),
        step_noise=lambda i: noise(1 + i),
        solver=solver,
    )


def largest(difference: Tensor) -> float:
    return float(difference.abs().max())


@pytest.mark.parametrize(
    ("steps", "counts"), [(25, (3, 8, 12, 22)), (100, (10, 30, 50, 90)), (1, (1, 1, 1, 1))]
)
def test_prompt_to_prompt_acts_in_as_many_steps_as_in_the_original(
    steps: int, counts: tuple[int, ...]
) -> None:
    for p, count in zip((0.1, 0.3, 0.5, 0.9), counts, strict=True):
        on = [is_controlled(p, i, steps) for i in range(steps)]
        assert on == [True] * count + [False] * (steps - count)


def test_prompt_to_prompt_is_off_at_p_0_and_leaves_the_last_step_alone_at_p_1() -> None:
    assert not any(is_controlled(0.0, i, steps) for steps in (1, 2, 25) for i in range(steps))
    assert [is_controlled(1.0, i, 4) for i in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddim_without_control_is_the_loop_of_diffusers(prediction: PredictionType) -> None:
    parts = tiny_parts(1, torch.float64, prediction_type=prediction)
    _, edited = sample(parts, p=0, solver="ddim")
    scheduler = SCHEDULERS.DDIMScheduler(**SCHEDULER, prediction_type=prediction)
    scheduler.alphas_cumprod = parts.alphas_cumprod  # its own are accumulated in float32
    scheduler.final_alpha_cumprod = parts.alphas_cumprod[0]
    scheduler.set_timesteps(STEPS)
    x = noise(0)[None]
    tokens = parts.tokenizer(
        ["", GREEN], padding="max_length", max_length=16, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        text = parts.text_encoder(tokens).last_hidden_state
        for t in scheduler.timesteps:
            empty, full = parts.unet(torch.cat([x, x]), t, encoder_hidden_states=text).sample
            x = scheduler.step((empty + 7.5 * (full - empty))[None], t, x).prev_sample
    assert largest(edited - x[0]) < 1e-10


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_control_the_images_are_two_independent_samples(
    parts: Parts, solver: Solver
) -> None:
    before, after = sample(parts, p=0, solver=solver)
    alone_before, _ = sample(parts, RED, RED, p=0, solver=solver)
    alone_after, _ = sample(parts, GREEN, GREEN, p=0, solver=solver)
    assert largest(before - alone_before) < 1e-10
    assert largest(after - alone_after) < 1e-10
    assert largest(before - after) > 0.1


@pytest.mark.parametrize("solver", SOLVERS)
def test_equal_prompts_give_equal_images(parts: Parts, solver: Solver) -> None:
    before, after = sample(parts, RED, RED, p=0.9, solver=solver, decode=True)
    assert largest(before - after) < 1e-10


@pytest.mark.parametrize("solver", SOLVERS)
def test_p_and_the_edit_change_the_edited_image_only(parts: Parts, solver: Solver) -> None:
    before, after = sample(parts, p=0.0, solver=solver)
    for p in (0.3, 0.9):
        same_before, changed_after = sample(parts, p=p, solver=solver)
        assert largest(same_before - before) < 1e-10
        assert largest(changed_after - after) > 0.1
    same_before, _ = sample(parts, RED, "a star", p=0.9, solver=solver)
    assert largest(same_before - before) < 1e-10


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_one_step_is_the_model_s_guess_of_the_clean_latent(
    solver: Solver, prediction: PredictionType
) -> None:
    parts = tiny_parts(2, torch.float64, prediction_type=prediction)
    latents = sample(parts, p=0.5, steps=1, solver=solver)
    assert all(bool(latent.isfinite().all()) for latent in latents)
    controlled, free = latents[1], sample(parts, p=0.0, steps=1, solver=solver)[1]
    assert largest(controlled - free) > 1e-4


def test_images_are_channels_first_in_zero_to_one(parts: Parts) -> None:
    for image in sample(parts, guidance=15, decode=True):
        assert image.shape == (3, IMAGE_SIDE, IMAGE_SIDE)
        assert image.dtype == torch.float64
        assert 0 <= float(image.min()) < float(image.max()) <= 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_family_in_float32_draws_nearly_the_same(parts: Parts, solver: Solver) -> None:
    exact = sample(parts, solver=solver, decode=True)
    rounded = sample(tiny_parts(0, torch.float32), solver=solver, decode=True)
    for image, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert largest(image - other) < 1e-3


def test_images_are_the_vae_s_decoding_brought_from_minus_one_to_one(parts: Parts) -> None:
    for latent, image in zip(sample(parts), sample(parts, decode=True), strict=True):
        with torch.no_grad():
            decoded = parts.vae.decode(latent[None] / SCALING_FACTOR).sample[0]
        assert largest(image - (0.5 * decoded + 0.5).clip(0, 1)) < 1e-12


def test_step_noise_is_asked_once_per_step_but_the_last(parts: Parts) -> None:
    asked: dict[str, list[int]] = {solver: [] for solver in SOLVERS}
    for solver in SOLVERS:

        def step_noise(i: int, solver: str = solver) -> Tensor:
            asked[solver].append(i)
            return noise(1 + i)

        reference_latents(
            parts,
            RED,
            GREEN,
            p=0.5,
            guidance=7.5,
            steps=STEPS,
            initial_noise=noise(0),
            step_noise=step_noise,
            solver=solver,
        )
    assert asked == {"euler_ancestral": [0, 1, 2], "ddim": []}


def test_the_unet_gets_its_own_attention_back_even_after_a_failure(parts: Parts) -> None:
    processors = dict(parts.unet.attn_processors)
    sample(parts)
    assert parts.unet.attn_processors == processors

    def fail(_: int) -> Tensor:
        raise RuntimeError("no noise")

    with pytest.raises(RuntimeError, match="no noise"):
        reference_latents(
            parts,
            RED,
            GREEN,
            p=0.5,
            guidance=7.5,
            steps=STEPS,
            initial_noise=noise(0),
            step_noise=fail,
            solver="euler_ancestral",
        )
    assert parts.unet.attn_processors == processors


def test_materialised_attention_is_diffusers_own_until_it_is_controlled(parts: Parts) -> None:
    assert sum("attn1" in name for name in parts.unet.attn_processors) == SELF_ATTENTION_LAYERS
    layer = parts.unet.mid_block.attentions[0].transformer_blocks[0]
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 9, 32, generator=generator, dtype=torch.float64)
    text = torch.randn(4, 16, 32, generator=generator, dtype=torch.float64)
    attention = MaterialisedAttention()
    with torch.no_grad():
        assert largest(attention(layer.attn1, x) - layer.attn1(x)) < 1e-12
        attention.controlled = True
        assert largest(attention(layer.attn2, x, text) - layer.attn2(x, text)) < 1e-12
        routed = attention(layer.attn1, x)
        # The same by the queries and keys of rows 0, 0, 2, 2 in fused attention.
        heads = [
            project(x).unflatten(-1, (4, 8)).transpose(1, 2)
            for project in (layer.attn1.to_q, layer.attn1.to_k, layer.attn1.to_v)
        ]
        rows = [0, 0, 2, 2]
        fused = functional.scaled_dot_product_attention(heads[0][rows], heads[1][rows], heads[2])
        assert largest(routed - layer.attn1.to_out[0](fused.transpose(1, 2).flatten(2))) < 1e-12
        assert largest(routed - layer.attn1(x)) > 1e-3
