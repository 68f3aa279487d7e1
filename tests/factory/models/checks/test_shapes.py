"""The weights that a config asks for are those of the libraries' own networks."""

import diffusers
import open_clip
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from factory.models.checks.clip import clip_shapes
from factory.models.checks.compvis import autoencoder_names, text_names, unet_names
from factory.models.checks.known_clip import Clip
from factory.models.checks.known_configs import Autoencoder, TextEncoder, Unet
from factory.models.checks.shapes import autoencoder_shapes, text_shapes, unet_shapes
from factory.models.family import NAMES, autoencoder_fields, family_fields
from tests.factory.models.checks import published


def of(network, start=""):
    return {name.removeprefix(start): tuple(w.shape) for name, w in network.state_dict().items()}


UNETS = published.UNETS | {name: family_fields(name)["unet"] for name in NAMES}
UNETS["blocks of unequal depth"] = published.XL | {"layers_per_block": [1, 2, 3]}
AUTOENCODERS = published.AUTOENCODERS | {
    "the families'": autoencoder_fields(),
    "bare": published.VAE | {"mid_block_add_attention": False, "use_post_quant_conv": False},
}


@pytest.mark.parametrize("name", UNETS)
def test_a_unet_has_the_weights_of_diffusers_own(name):
    config = {key: value for key, value in UNETS[name].items() if "to_come" not in key}
    with torch.device("meta"):
        network = diffusers.UNet2DConditionModel.from_config(config)
    assert unet_shapes(Unet.model_validate(config)) == of(network)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_an_autoencoder_has_the_weights_of_diffusers_own(name):
    config = AUTOENCODERS[name]
    with torch.device("meta"):
        network = diffusers.AutoencoderKL.from_config(config)
    assert autoencoder_shapes(Autoencoder.model_validate(config)) == of(network)


@pytest.mark.parametrize("projects", [False, True])
def test_a_text_encoder_has_the_weights_of_transformers_own(projects):
    fields = family_fields("sd-2-v")["text_encoder"] | {"num_hidden_layers": 2}
    kind = CLIPTextModelWithProjection if projects else CLIPTextModel
    with torch.device("meta"):
        network = kind(CLIPTextConfig(**fields))
    shapes = text_shapes(TextEncoder.model_validate(fields), projects)
    assert shapes == of(network, "text_model.")


@pytest.mark.parametrize(
    "name", ["ViT-L-14-quickgelu", "ViT-B-32", "ViT-H-14", "ViT-B-16-plus-240"]
)
def test_clip_has_the_weights_of_open_clips_own(name):
    config = open_clip.get_model_config(name)
    shapes = clip_shapes(Clip.model_validate(config))
    with torch.device("meta"):
        network = open_clip.model.CLIP(**config)
    assert shapes == of(network)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "ViTamin-B"])
def test_of_other_kinds_of_clip_nothing_is_said(name):
    assert clip_shapes(Clip.model_validate(open_clip.get_model_config(name))) is None


def empty(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("family", NAMES)
def test_compvis_names_are_those_that_diffusers_converts(family):
    fields = family_fields(family)
    unet = Unet.model_validate(fields["unet"])
    start = "model.diffusion_model."
    stored = empty({start + name: shape for name, shape in unet_names(unet).items()})
    converted = convert_ldm_unet_checkpoint(stored, fields["unet"])
    assert {name: tuple(w.shape) for name, w in converted.items()} == unet_shapes(unet)


def test_compvis_names_of_the_autoencoder_are_those_that_diffusers_converts():
    fields = autoencoder_fields()
    vae = Autoencoder.model_validate(fields)
    converted = convert_ldm_vae_checkpoint(empty(autoencoder_names(vae)), fields)
    assert {name: tuple(w.shape) for name, w in converted.items()} == autoencoder_shapes(vae)


def test_open_clips_names_of_the_text_encoder_are_those_that_diffusers_converts():
    fields = family_fields("sd-2-v")["text_encoder"]
    text = TextEncoder.model_validate(fields)
    start = "cond_stage_model.model."
    stored = {start + name: torch.zeros(shape) for name, shape in text_names(text, True).items()}
    stored[f"{start}text_projection"] = torch.zeros(1024, 1024)
    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(**fields))
    converted = convert_open_clip_checkpoint(network, stored, prefix=start)
    found = {k.removeprefix("text_model."): tuple(w.shape) for k, w in converted.items()}
    wanted = text_shapes(text, projects=False)
    assert {name: found.get(name) for name in wanted} == wanted
