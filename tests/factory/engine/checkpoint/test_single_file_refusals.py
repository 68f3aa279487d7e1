"""Single files that are something else, or nearly Stable Diffusion: refused, with the reason."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.engine.checkpoint.load import load_models
from factory.errors import ModelError
from factory.models.pin import pin
from schemas.recipe import ModelSource
from tests.factory.engine.architectures import save_weights, tiny_families, tiny_recipe

torch.set_num_threads(1)
CPU = torch.device("cpu")
UNET = "model.diffusion_model."
CONV_IN = f"{UNET}input_blocks.0.0.weight"
CONTEXT = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    with tiny_families(tmp_path_factory.mktemp("tiny"), ("sd-1", "sd-2-v")) as root:
        yield root


@pytest.mark.parametrize(
    ("of", "name", "change", "message"),
    [
        pytest.param(
            "sd-2-v", None, {}, r"name must be one of sd-2-base, sd-2-v, .*, got null", id="no name"
        ),
        pytest.param(
            "sd-2-v",
            "sd-1",
            {},
            r"name must be sd-2-base or sd-2-v .* width 48, got 'sd-1'",
            id="sd-1",
        ),
        pytest.param("sd-1", "sd-2-v", {}, r"name must be sd-1 for .* 32, got 'sd-2-v'", id="sd-2"),
        pytest.param(
            "sd-1",
            None,
            {"conditioner.embedders.0.x": torch.zeros(1)},
            r"must be Stable Diffusion 1\.x or 2\.x, got Stable Diffusion XL",
            id="XL",
        ),
        pytest.param(
            "sd-1", None, {CONV_IN: torch.zeros(16, 9, 3, 3)}, r"4 channels, got 9, an inp", id="9"
        ),
        pytest.param(
            "sd-1", None, {CONV_IN: torch.zeros(16, 8, 3, 3)}, r"got 8, an instruction", id="8"
        ),
        pytest.param(
            "sd-2-v", "sd-2-v", {CONV_IN: torch.zeros(16, 5, 3, 3)}, r"got 5, a depth", id="5"
        ),
        pytest.param(
            "sd-2-v",
            "sd-2-v",
            {f"{UNET}label_emb.0.0.weight": torch.zeros(1)},
            r"unCLIP",
            id="unCLIP",
        ),
        pytest.param(
            "sd-1",
            None,
            {CONTEXT: torch.zeros(16, 2048)},
            r"context width must be one of \[32, 48\], got 2048",
            id="another width",
        ),
        pytest.param(
            "sd-1",
            None,
            {CONV_IN: None},
            r"must hold Stable Diffusion's UNet .*, got \d+",
            id="no UNet",
        ),
        pytest.param(
            "sd-1",
            None,
            {"cond_stage_model": None},
            r"must hold a text encoder under",
            id="no text",
        ),
    ],
)
def test_other_files_are_refused_before_anything_is_loaded(
    tiny, tmp_path, of, name, change, message
):
    weights = load_file(tiny / f"{of}.safetensors")
    for key, weight in change.items():
        weights = {k: w for k, w in weights.items() if not k.startswith(key)}
        weights |= {} if weight is None else {key: weight}
    save_file(weights, tmp_path / "sd.safetensors")
    source = ModelSource(source=str(tmp_path / "sd.safetensors"), name=name)
    with pytest.raises(ModelError, match=message) as raised:
        pin(tiny_recipe(tiny, of, single=True, text_to_image=source))
    assert str(raised.value).startswith(str(tmp_path / "sd.safetensors"))


@pytest.mark.parametrize(
    ("key", "weight", "message"),
    [
        (f"{UNET}out.2.bias", None, r"UNet2DConditionModel must have \d+ weights, got one without"),
        (f"{UNET}out.2.bias", torch.zeros(5), r"have conv_out\.bias of \(4,\), got \(5,\)"),
        (f"{UNET}more.weight", torch.zeros(5), r"UNet must hold only sd-1's weights, got 1 more"),
        ("first_stage_model.quant_conv.bias", None, r"AutoencoderKL .* without quant_conv\.bias"),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            None,
            r"CLIPTextModel .* without \S*final_layer_norm\.bias",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(tiny, tmp_path, key, weight, message):
    weights = load_file(tiny / "sd-1.safetensors")
    weights.pop(key, None)
    save_file(weights | ({} if weight is None else {key: weight}), tmp_path / "sd.safetensors")
    of = tiny_recipe(
        tiny,
        "sd-1",
        single=True,
        text_to_image=ModelSource(source=str(tmp_path / "sd.safetensors")),
    )
    with pytest.raises(ModelError, match=message):
        load_models(of, CPU)


def test_pickled_checkpoint_and_needless_names_are_refused(tiny, tmp_path):
    (tmp_path / "sd.ckpt").write_bytes(b"\x80\x04.")
    cases = {
        r"weights must be \.safetensors files, got only pickled weights \(sd\.ckpt\)": {
            "text_to_image": ModelSource(source=str(tmp_path / "sd.ckpt"))
        },
        r"name must be null for a folder, got 'sd-1'": {
            "text_to_image": ModelSource(source=str(tiny / "sd-1"), name="sd-1")
        },
        r"name must be null for role autoencoder, got 'mse'": {
            "autoencoder": ModelSource(source=str(tiny / "sd-1" / "vae"), name="mse")
        },
        r"must hold an autoencoder, got \d+ weights, first": {
            "autoencoder": ModelSource(
                source=str(tiny / "sd-1" / "text_encoder" / "model.safetensors")
            )
        },
    }
    for message, fields in cases.items():
        with pytest.raises(ModelError, match=message):
            pin(tiny_recipe(tiny, "sd-1", single=False, **fields))


def test_autoencoder_with_other_latents_is_refused(tiny, tmp_path):
    weights = {"decoder.conv_in.weight": torch.zeros(16, 16, 3, 3)}
    file = save_weights(weights, tmp_path / "vae.safetensors")
    of = tiny_recipe(tiny, "sd-1", single=True, autoencoder=ModelSource(source=str(file)))
    with pytest.raises(ModelError, match=re.escape(f"{file}: must have 4 latent channels, got 16")):
        pin(of)
