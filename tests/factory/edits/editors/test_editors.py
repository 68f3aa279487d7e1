"""Each editor beside what it rebuilds, on the miniature, at pictures that are no squares."""

from dataclasses import replace
from unittest.mock import patch

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from factory import seeds
from factory.edits.edit import seed_of
from factory.edits.editors.ip2p import load_editor
from factory.edits.studio import Studio
from factory.miniature import world
from factory.models.find import MINIATURE
from schemas.editors import Ip2p, Sdedit
from schemas.edits import EditCompute, EditItem, EditRecipe
from schemas.recipe import ModelSource
from tests.factory.engine.tiny_xl import tiny_xl

torch.set_num_threads(1)
INSTRUCTION, CAPTION = "make it red", "a large red star on a white background"
STEPS = 5
ANCESTRAL = "diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor"
COMPUTE = EditCompute(device="cpu", gpus_per_worker=0, batch_images=2, threads=1)


def scene(size=(96, 64)):
    caption = "a large blue star on a white background"
    return np.asarray(Image.fromarray(world.render(world.parse_caption(caption))).resize(size))


def item(**fields):
    given = {"key": "a.png", "image": "a.png", "editor": "ip2p", "seed": 5, **fields}
    return EditItem(**dict.fromkeys(EditItem.model_fields) | given)


def studio(**editors):
    editor = next(iter(editors))
    return Studio(EditRecipe(editor=editor, size_px=64, **editors), COMPUTE)


def final_latents(studio, one):
    """(4, height, width), of unit variance."""
    editor = studio.editor(one.editor)
    procedure, _ = editor.begin(one, scene())
    (done,) = editor.engine.make([replace(next(procedure), returns="latents")])
    return done.latents[-1, 0]


def noise(purpose, shape=(1, 4, 16, 24)):
    return torch.from_numpy(seeds.noise(5, f"edit {purpose}", shape[1:]))[None]


@pytest.mark.parametrize("solver", ["euler_ancestral", "ddim", "dpm_solver"])
def test_ip2p_is_the_diffusers_pipeline(solver):
    ip2p = Ip2p(model={"source": "miniature/editor"}, solver=solver, steps=STEPS, text_guidance=3.0)
    ours = final_latents(studio(ip2p=ip2p), item(instruction=INSTRUCTION))
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(
        str(MINIATURE / "editor"), torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    if solver == "ddim":
        told = {"steps_offset": 1, "set_alpha_to_one": False, "timestep_spacing": "leading"}
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, **told)
    if solver == "dpm_solver":
        told = {"algorithm_type": "dpmsolver++", "solver_order": 2, "timestep_spacing": "linspace"}
        pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
            pipeline.scheduler.config, **told
        )
    with patch(ANCESTRAL, side_effect=[noise(step) for step in range(STEPS)]):
        found = pipeline(
            INSTRUCTION, image=Image.fromarray(scene()), num_inference_steps=STEPS, guidance_scale=3.0,
            image_guidance_scale=1.5, latents=noise("start"), output_type="latent",
        ).images  # fmt: skip
    torch.testing.assert_close(ours, found[0], rtol=1e-4, atol=1e-4)


def slow_sdedit(networks, latent, strength, steps, scale):
    """SDEdit by DDIM, written out: one row at a time, in the space of x, in float32 as the networks are."""
    unet, text = networks.unet, networks.text
    kept = 1 / (1 + networks.schedule.sigmas**2)
    stride = len(kept) // steps
    times = [i * stride + 1 for i in reversed(range(steps))][steps - int(steps * strength) :]
    a = kept[times[0]]
    x = a.sqrt() * latent + (1 - a).sqrt() * noise("start")[0].double()
    for t in times:
        a, before = kept[t], kept[max(0, t - stride)]
        v = [
            unet(x[None].float(), t, encoder_hidden_states=words.tokens[None]).sample[0].double()
            for words in (text.nothing(), text.words(CAPTION))
        ]
        guided = v[0] + scale * (v[1] - v[0])
        clean = a.sqrt() * x - (1 - a).sqrt() * guided
        eps = (x - a.sqrt() * clean) / (1 - a).sqrt()
        x = before.sqrt() * clean + (1 - before).sqrt() * eps
    return x


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
@torch.inference_mode()
def test_sdedit_is_the_slow_reference(strength):
    settings = Sdedit(model={"source": "miniature"}, steps=10, text_guidance=2.0, strength=0.5)
    made = studio(sdedit=settings)
    one = item(editor="sdedit", target_caption=CAPTION, strength=strength)
    ours = final_latents(made, one)
    networks = made.editor("sdedit").networks
    pixels = torch.from_numpy(scene().transpose(2, 0, 1).copy())[None]
    latent = networks.autoencoder.unit(networks.autoencoder.moments(pixels)[0][0]).double()
    expected = slow_sdedit(networks, latent, strength, 10, 2.0)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("strength", "first"), [(1.0, 0), (0.6, 4), (0.05, 9), (0.3, 7)])
def test_sdedit_makes_its_share_of_the_steps(strength, first):
    settings = Sdedit(model={"source": "miniature"}, steps=10, strength=strength)
    assert (
        settings.first_step()
        == Sdedit(model=settings.model, steps=10).first_step(strength)
        == first
    )


def test_an_edit_comes_back_at_its_pictures_size_and_depends_on_no_other():
    made = studio(ip2p=Ip2p(model={"source": "miniature/editor"}, steps=2))
    asked = [
        (item(key=f"{n}.png", seed=None, instruction=INSTRUCTION), scene(size))
        for n, size in enumerate([(64, 64), (150, 100), (40, 90), (64, 64)])
    ]
    together = dict(made.edit(asked))
    for place, (one, picture) in enumerate(asked):
        assert together[place].picture.shape == picture.shape
        alone = dict(made.edit([(one, picture)]))[0]
        np.testing.assert_array_equal(alone.picture, together[place].picture)
    assert seed_of(made.recipe, asked[0][0]) != seed_of(made.recipe, asked[3][0])
    # The middle two are edited at 96 x 64 and 32 x 64.
    assert [together[n].facts["model_width"] for n in range(4)] == [64, 96, 32, 64]


@pytest.mark.parametrize("zeros", [True, False])
def test_an_editor_on_xl_edits_as_the_one_that_diffusers_is_compared_with(zeros, tmp_path):
    """`tests/trainer/learning/test_xl.py` holds `Editor.edit` beside diffusers' XL pipeline."""
    tiny_xl(tmp_path, editor=True, zeros=zeros)
    ip2p = Ip2p(model={"source": str(tmp_path)}, steps=3, text_guidance=2.0)
    made = Studio(EditRecipe(ip2p=ip2p, size_px=32), COMPUTE)
    picture = np.random.default_rng(3).integers(0, 256, (16, 32, 3), np.uint8)
    ((_, ours),) = made.edit([(item(instruction=INSTRUCTION), picture)])
    size = ours.facts["model_width"], ours.facts["model_height"]
    pixels = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    (theirs,) = load_editor(ModelSource(source=str(tmp_path)), "cpu").edit(
        torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], [INSTRUCTION], [5],
        steps=3, text_guidance=2.0, image_guidance=1.5,
    )  # fmt: skip
    back = Image.fromarray(theirs).resize((32, 16), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(back).astype(int) - ours.picture).max() <= 1
    assert ours.picture.std() > 1


@pytest.mark.parametrize(
    ("of_request", "of_recipe"),
    [
        ({"text_guidance": 4.0}, {"text_guidance": 4.0}),
        ({"image_guidance": 1.1}, {"image_guidance": 1.1}),
        (
            {"text_guidance": 0.0, "image_guidance": 3.0},
            {"text_guidance": 0.0, "image_guidance": 3.0},
        ),
    ],
)
def test_guidance_of_a_request_is_that_of_the_recipe_in_its_place(of_request, of_recipe):
    usual = Ip2p(model={"source": "miniature/editor"}, steps=2)
    plain = item(instruction=INSTRUCTION)
    own = final_latents(studio(ip2p=usual), item(instruction=INSTRUCTION, **of_request))
    told = final_latents(studio(ip2p=usual.model_copy(update=of_recipe)), plain)
    assert torch.equal(own, told)
    assert (own - final_latents(studio(ip2p=usual), plain)).abs().max() > 1e-3
