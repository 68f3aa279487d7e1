"""Weights and configs that would run code are refused before anything loads, or are never opened."""

import json
import shutil

import pytest
import torch

from factory.engine.checkpoint.load import load_models
from factory.errors import ModelError
from factory.models.pin import pin
from schemas.recipe import Lora, ModelSource
from tests.factory.engine.family import recipe
from tests.security.planted import raw, safetensors_around, zipped

PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
PREFERRED_NAMES = (
    *("pytorch_model.bin", "diffusion_pytorch_model.bin", "model.bin", "model.ckpt", "model.pt"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "pytorch_model.pth", "a.pkl"),
    *("adapter_model.bin", "pytorch_lora_weights.bin", "tokenizer.pkl", "optimizer.pt"),
)
CODE = """
import os
os.makedirs({canary!r}, exist_ok=True)
from transformers import CLIPTokenizer
class Planted(CLIPTokenizer): pass
"""


@pytest.fixture
def family(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    shutil.copytree(saved, tmp_path / "family")
    return tmp_path / "family"


def load(folder, **fields):
    return load_models(pin(recipe(folder, **fields)), torch.device("cpu"))


def change(file, edit):
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("make", [raw, zipped])
def test_pickles_beside_the_weights_are_never_opened(family, canary, make):
    for folder in [family, *family.rglob("*")]:
        if folder.is_dir():
            for name in PREFERRED_NAMES:
                (folder / name).write_bytes(make(canary))
    assert load(family).unet is not None


@pytest.mark.parametrize("suffix", PICKLED)
@pytest.mark.parametrize("make", [raw, zipped])
def test_a_pickled_file_is_no_model(family, canary, suffix, make):
    file = family / f"weights{suffix}"
    file.write_bytes(make(canary))
    source = ModelSource(source=str(file))
    named = ModelSource(source=str(file), name="ViT-B-32")
    for role, value in {
        "text_to_image": source,
        "autoencoder": source,
        "clip": named,
        "loras": (Lora(source=str(file)),),
    }.items():
        with pytest.raises(ModelError, match=r"must be \.safetensors|\.safetensors file"):
            load(family, **{role: value})


@pytest.mark.parametrize("part", ["text_to_image/unet", "text_to_image/text_encoder", "clip"])
@pytest.mark.parametrize("make", [raw, zipped])
def test_a_pickle_in_the_name_of_safetensors_is_refused(family, canary, part, make):
    (weights,) = (family / part).glob("*.safetensors")
    weights.write_bytes(make(canary))
    with pytest.raises(ModelError, match=r"must be a (whole )?safetensors file"):
        load(family)
    weights.unlink()
    weights.with_name("pytorch_model.bin").write_bytes(make(canary))
    with pytest.raises(ModelError, match="only pickled weights"):
        load(family)


def test_a_pickle_inside_of_a_weight_stays_bytes(family, canary):
    (weights,) = (family / "text_to_image/unet").glob("*.safetensors")
    weights.write_bytes(safetensors_around(raw(canary)))
    with pytest.raises(ModelError, match="unet"):
        load(family)


@pytest.mark.parametrize("part", ["text_to_image/unet", "text_to_image/text_encoder"])
def test_an_index_that_names_pickled_shards_is_refused(family, canary, part):
    (weights,) = (family / part).glob("*.safetensors")
    weights.rename(weights.with_name("other.safetensors"))
    shard = "pytorch_model-00001-of-00001.bin"
    (family / part / shard).write_bytes(zipped(canary))
    index = weights.with_name(weights.name + ".index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"weight": shard}}))
    with pytest.raises(ModelError, match=r"index\.json: weight_map must name \.safetensors files"):
        load(family)


def test_a_tokenizer_with_code_of_its_own_is_refused(family, canary):
    clip = family / "clip"
    (clip / "planted.py").write_text(CODE.format(canary=str(canary)))

    def ask(config):
        config["auto_map"] = {"AutoTokenizer": ["planted.Planted", None]}
        config["tokenizer_class"] = "Planted"

    def allow(config):
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}

    change(clip / "open_clip_config.json", allow)
    with pytest.raises(ModelError, match=r"tokenizer_kwargs may hold .*, got 'trust_remote_code'"):
        load(family)
    change(clip / "tokenizer_config.json", ask)
    with pytest.raises(ModelError, match=r"must not name code or weights of its own|may hold"):
        load(family)


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("text_to_image/unet/config.json", {"auto_map": {"AutoModel": "a.B"}}, "'auto_map'"),
        ("text_to_image/text_encoder/config.json", {"transformers_weights": "a"}, "'transformers"),
        ("text_to_image/text_encoder/adapter_config.json", {}, "name it in recipe.loras"),
        (
            "clip/tokenizer_config.json",
            {"auto_map": {"AutoTokenizer": ["a.B", None]}},
            "'auto_map'",
        ),
        (
            "clip/open_clip_config.json",
            {"text_cfg": {"hf_model_name": "a/b"}},
            "elsewhere, got 'a/b'",
        ),
        (
            "clip/open_clip_config.json",
            {"vision_cfg": {"timm_model_name": "hf_hub:a/b"}},
            "elsewhere, got 'hf_hub:a/b'",
        ),
        ("clip/open_clip_config.json", {"vision_cfg": {"timm_model_pretrained": True}}, "'True'"),
    ],
)
def test_a_config_that_asks_for_more_than_its_model_is_refused(family, file, fields, message):
    path = family / file
    if not path.exists():
        path.write_text("{}")
    change(path, lambda config: config.update(fields))
    if "open_clip" in file:
        change(path, lambda config: config.pop("model_cfg"))
    with pytest.raises(ModelError, match=message):
        pin(recipe(family))


def test_clip_weights_that_open_clip_would_pass_over_for_pickled_ones_are_refused(family, canary):
    weights = family / "clip/open_clip_model.safetensors"
    weights.rename(weights.with_name("open_clip_other.safetensors"))
    weights.with_name("open_clip_pytorch_model.bin").write_bytes(raw(canary))
    with pytest.raises(
        ModelError, match=r"must be named open_clip_model\.safetensors, got open_clip"
    ):
        load(family)


def test_one_of_timms_own_architectures_may_be_named(family):
    def name(config):
        config["model_cfg"]["vision_cfg"]["timm_model_name"] = "vit_base_patch16_siglip_224"

    change(family / "clip/open_clip_config.json", name)
    assert pin(recipe(family)).clip.files
