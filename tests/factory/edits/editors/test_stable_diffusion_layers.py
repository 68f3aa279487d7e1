"""Which layers of Stable Diffusion's UNet the defaults of `p2p` and `pnp` name, and in which steps.

Source of what is expected: pnp-diffusers and google/prompt-to-prompt on Stable Diffusion 1.x at 512 px.
"""

from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from factory.edits.editors.p2p import edit_of as p2p_of
from factory.edits.editors.pnp import edit_of as pnp_of
from factory.engine.attention.cross import EditedMap
from factory.engine.attention.layer import Layer
from schemas.editors import P2p, Pnp
from schemas.recipe import WordMaps
from tests.factory.edits.editors.test_editors import item
from tests.factory.engine.tiny import tiny_parts

MODEL = {"source": "m"}
PICTURE = torch.zeros(4, 64, 64)


@pytest.fixture(scope="module")
def unet():
    """Of Stable Diffusion 1.x, without weights: diffusers' defaults, but for the text encoder's width."""
    with torch.device("meta"):
        found = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    assert found.config.block_out_channels == (320, 640, 1280, 1280)
    return found


def asked(edit_of, settings, **fields):
    """What the engine is asked for once the inversion is made."""
    words = {"source_caption": "a cat on a mat", "target_caption": "a dog on a mat"}
    procedure = edit_of(None, item(editor=settings.NAME, **words | fields), settings, PICTURE, 0)
    next(procedure)
    levels = torch.zeros(len(settings.levels), 1, 4, 64, 64)
    return procedure.send(SimpleNamespace(latents=levels, truncated=False))


def acting(control, unet, ending):
    """The modules that a control acts on, without the ending of their names."""
    return [
        name.removesuffix(ending)
        for name, _ in unet.named_modules()
        if name.endswith(ending) and control.acts(Layer.of(name, unet))
    ]


def steps_of(control, steps):
    return [
        step
        for step in range(steps)
        if list(control.route(step, steps)) != list(range(len(control.lenders)))
    ]


def test_plug_and_play_lends_what_the_authors_lend(unet):
    request = asked(pnp_of, Pnp(model=MODEL))
    assert acting(request.features, unet, ".conv2") == ["up_blocks.1.resnets.1"]
    assert acting(request.control, unet, ".transformer_blocks.0.attn1") == [
        "up_blocks.1.attentions.1", "up_blocks.1.attentions.2",
        "up_blocks.2.attentions.0", "up_blocks.2.attentions.1", "up_blocks.2.attentions.2",
        "up_blocks.3.attentions.0", "up_blocks.3.attentions.1", "up_blocks.3.attentions.2",
    ]  # fmt: skip
    assert steps_of(request.features, 50) == list(range(40))
    assert steps_of(request.control, 50) == list(range(25))


def test_prompt_to_prompt_takes_the_maps_that_the_authors_take(unet):
    request = asked(p2p_of, P2p(model=MODEL, maps=WordMaps(blend=True)))
    coarse = acting(request.control, unet, ".transformer_blocks.0.attn1")
    # Up to 16 x 16 positions: those of 64 and 32 are left alone.
    assert coarse == [
        "down_blocks.2.attentions.0", "down_blocks.2.attentions.1",
        "up_blocks.1.attentions.0", "up_blocks.1.attentions.1", "up_blocks.1.attentions.2",
        "mid_block.attentions.0",
    ]  # fmt: skip
    assert steps_of(request.control, 50) == list(range(20))
    # Its cross_replace_steps of 0.8: 40 of 50.
    edited = EditedMap(request.cross, tiny_parts().tokenizer)
    taken = [step for step in range(50) if edited.columns(step, 50).source.any()]
    assert taken == list(range(40))
    # Its local blend goes by the five maps of 16 x 16.
    scales = [
        Layer.of(name, unet).scale for name, _ in unet.named_modules() if name.endswith(".attn2")
    ]
    assert scales.count(request.blend.scale) == 5
