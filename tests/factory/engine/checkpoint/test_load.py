"""Loading: other autoencoders, LoRA, pinned files; refusals are in tests/bad_input."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from factory.engine.checkpoint.load import load_models
from factory.errors import ModelError
from factory.models.pin import pin
from schemas.recipe import Lora, ModelSource
from tests.factory.engine.family import CAPTIONS, draw, recipe, sample, save_family

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("family"))


def test_text_and_unet_outputs_are_diffusers_own(family):
    of = recipe(family)
    models = load_models(of, CPU)
    plain = UNet2DConditionModel.from_pretrained(family / "text_to_image/unet").double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    context = torch.stack([models.text.context(text) for text in CAPTIONS[0]])
    assert models.text.context("") is models.text.context("")
    with torch.no_grad():
        ours = models.unet(x, 500, context).sample
        theirs = plain(x, 500, context).sample
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_another_autoencoder_takes_the_built_in_ones_place(family, tmp_path):
    vae = AutoencoderKL.from_pretrained(family / "text_to_image/vae")
    with torch.no_grad():
        vae.decoder.conv_out.bias += 1
    vae.save_pretrained(tmp_path / "vae")
    of = recipe(family, autoencoder=ModelSource(source=str(tmp_path / "vae")))
    other, own = (load_models(one, CPU).autoencoder.network for one in (of, recipe(family)))
    moved = other.decoder.conv_out.bias - own.decoder.conv_out.bias
    torch.testing.assert_close(moved, torch.ones_like(moved))
    assert pin(of).recipe_hash != pin(recipe(family)).recipe_hash


def test_lora_is_merged_at_its_scale(family, tmp_path):
    unet = UNet2DConditionModel.from_pretrained(family / "text_to_image/unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
        for name, weight in unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
    weights = {f"unet.{k}": v.contiguous() for k, v in get_peft_model_state_dict(unet).items()}
    save_file(weights, tmp_path / "lora.safetensors")

    def merged(scale):
        source = str(tmp_path / "lora.safetensors")
        loras = (Lora(source=source, scale=scale),)
        return load_models(recipe(family, loras=loras), CPU).unet.state_dict()

    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    plain = load_models(recipe(family), CPU).unet.state_dict()
    assert set(merged(1.0)) == set(plain)
    torch.testing.assert_close(merged(0.0)[name], plain[name])
    whole, half = merged(1.0)[name] - plain[name], merged(0.5)[name] - plain[name]
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(half, whole / 2)


def test_pinned_recipe_refuses_files_that_changed(tmp_path):
    folder = save_family(tmp_path)
    pinned = pin(recipe(folder))
    config = folder / "text_to_image/scheduler/scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.013"))
    with pytest.raises(
        ModelError, match=r"must hold the files that this recipe pins.*scheduler/scheduler_config"
    ):
        pin(pinned)


def test_size_that_the_autoencoder_cannot_make_is_refused(family):
    with pytest.raises(ModelError, match=r"recipe\.size_px: must be a multiple of 2.*got 9"):
        pin(recipe(family, size_px=9))


def test_moved_weights_make_the_same_pictures_and_the_same_recipe(family, tmp_path):
    other = save_family(tmp_path)
    assert pin(recipe(other)).recipe_hash == pin(recipe(family)).recipe_hash
    pair = [sample(recipe(f), [draw(CAPTIONS[0], 3)], 1)[3] for f in (family, other)]
    assert torch.equal(*pair)


def test_a_folder_whose_config_leaves_a_layer_out_is_refused_not_run_without_it(tmp_path):
    root = save_family(tmp_path)
    config = root / "text_to_image" / "text_encoder" / "config.json"
    config.write_text(
        config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1')
    )
    with pytest.raises(ModelError, match=r"encoder\.layers\.1\.") as before:
        pin(recipe(root))
    assert "must hold 20 weights by text_encoder/config.json and no others" in str(before.value)
    with pytest.raises(
        ModelError, match=r"must hold only CLIPTextModel's weights, got .*layers\.1"
    ):
        load_models(recipe(root), CPU)


def test_folder_with_a_missing_weight_is_refused_not_filled_with_random_ones(tmp_path):
    root = save_family(tmp_path)
    for part, file, key in (
        ("unet", "diffusion_pytorch_model.safetensors", "conv_out.bias"),
        ("text_encoder", "model.safetensors", "final_layer_norm.bias"),
    ):
        path = root / "text_to_image" / part / file
        weights = load_file(path)
        name = next(k for k in weights if k.endswith(key))
        save_file({k: w for k, w in weights.items() if k != name}, path, {"format": "pt"})
        with pytest.raises(ModelError, match=rf"/{part}: .*{key}"):
            load_models(recipe(root), CPU)
        save_file(weights, path, {"format": "pt"})
