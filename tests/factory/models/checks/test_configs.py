"""What a config may say: all that was published, and nothing else that a library would act upon."""

import inspect
import json
from pathlib import Path

import diffusers
import open_clip
import pytest
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from transformers import CLIPTextConfig

from factory.errors import ModelError
from factory.models.checks.known_clip import Clip, ClipFolder, Text, Vision, XlIndex
from factory.models.checks.known_configs import (
    SCHEDULER_KEYS,
    Autoencoder,
    NoiseSchedule,
    TextEncoder,
    Tokenizer,
    Unet,
)
from factory.models.checks.parts import read_autoencoder, read_unet
from factory.models.configs import validated
from tests.factory.models.checks import published

FILE = Path("config.json")
PUBLISHED = [
    (kind, name, config)
    for kind, configs in (
        (Unet, published.UNETS),
        (Autoencoder, published.AUTOENCODERS),
        (TextEncoder, published.TEXTS),
        (Tokenizer, published.TOKENIZERS),
        (NoiseSchedule, published.SCHEDULES),
        (XlIndex, {"XL": published.INDEX}),
    )
    for name, config in configs.items()
]


@pytest.mark.parametrize(
    ("kind", "name", "config"), PUBLISHED, ids=[f"{k.__name__} {n}" for k, n, _ in PUBLISHED]
)
def test_what_was_published_is_read(kind, name, config):
    written = json.loads(json.dumps(config))
    assert validated(FILE, kind, written)


def test_every_unet_and_autoencoder_that_was_published_has_numbers_that_fit(tmp_path):
    for number, config in enumerate(published.UNETS.values()):
        file = tmp_path / str(number) / "unet" / "config.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(config))
        assert read_unet(tmp_path / str(number))
    for config in published.AUTOENCODERS.values():
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_autoencoder(tmp_path / "config.json")


@pytest.mark.parametrize("name", [n for n in open_clip.list_models() if "roberta" not in n])
def test_every_architecture_of_open_clip_may_be_in_a_folder(name):
    config = open_clip.get_model_config(name)
    config["text_cfg"].pop("hf_model_name", None)
    config["text_cfg"].pop("hf_model_config", None)
    assert validated(FILE, ClipFolder, {"model_cfg": config})


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        (Unet, diffusers.UNet2DConditionModel.__init__),
        (Autoencoder, diffusers.AutoencoderKL.__init__),
        (TextEncoder, CLIPTextConfig.__init__),
        (Vision, CLIPVisionCfg.__init__),
        (Text, CLIPTextCfg.__init__),
    ],
)
def test_each_key_that_the_library_knows_is_known_with_its_default(kind, of):
    not_kept = {"self", "return_dict", "id2label", "label2id", "problem_type", "mlp_ratio"}
    for name, parameter in inspect.signature(of).parameters.items():
        if name in not_kept:
            continue
        field = kind.model_fields[name]
        default = (
            list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        )
        if kind in (Unet, Autoencoder):
            assert field.default == default, name


def test_of_a_scheduler_each_key_that_any_of_diffusers_knows_is_known():
    known = {*SCHEDULER_KEYS.split(), *NoiseSchedule.model_fields}
    for name in ("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete",
                 "HeunDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep", "KDPM2Discrete", "LCM",
                 "KDPM2AncestralDiscrete", "DEISMultistep", "UniPCMultistep", "TCD", "EDMEuler",
                 "DPMSolverSDE", "IPNDM"):  # fmt: skip
        kind = getattr(diffusers, f"{name}Scheduler")
        unknown = (
            {*inspect.signature(kind.__init__).parameters} - known - {"self", "args", "kwargs"}
        )
        assert not unknown, name


CODE = "kernels-community/anything"


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (
            Unet,
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "got 'quantization_config'",
        ),
        (Unet, {"auto_map": {"AutoModel": "a.B"}}, "got 'auto_map'"),
        (Unet, {"_class_name": "UNet2DModel"}, r"_class_name must be 'UNet2DConditionModel', got"),
        (Unet, {"_class_name": ["planted.py", "X"]}, "_class_name must be"),
        (Unet, {"class_embed_type": "timestep"}, "class_embed_type must be null, got"),
        (Unet, {"attn_processor": CODE}, "unknown key 'attn_processor', got .*; delete it if"),
        (
            Unet,
            {"layer_per_block": 3},
            "unknown key 'layer_per_block', .*; did you mean 'layers_per_b",
        ),
        (Unet, {"norm_num_groups": 0}, "norm_num_groups must be greater than or equal to 1, got 0"),
        (
            Unet,
            {"layers_per_block": -1},
            "layers_per_block must be greater than or equal to 1, got -1",
        ),
        (Unet, {"layers_per_block": "two"}, 'layers_per_block must be a valid integer, got "two"'),
        (Unet, {"layers_per_block": True}, "layers_per_block must be a valid integer, got true"),
        (
            Unet,
            {"cross_attention_dim": 10**12},
            "cross_attention_dim must be less than or equal to",
        ),
        (Unet, {"norm_eps": float("nan")}, "norm_eps must be a finite number, got NaN"),
        (
            Unet,
            {"down_block_types": ["AttnDownBlock2D"]},
            "down_block_types.0 must be 'CrossAttnDownB",
        ),
        (
            Autoencoder,
            {"_class_name": "AsymmetricAutoencoderKL"},
            "_class_name must be 'AutoencoderKL'",
        ),
        (Autoencoder, {"scaling_factor": 0}, "scaling_factor must be greater than 0, got 0"),
        (Autoencoder, {"in_channels": 4}, "in_channels must be 3, got 4"),
        (TextEncoder, {"attn_implementation": CODE}, "got 'attn_implementation'"),
        (TextEncoder, {"_attn_implementation": CODE}, "got '_attn_implementation'"),
        (TextEncoder, {"experts_implementation": CODE}, "got 'experts_implementation'"),
        (TextEncoder, {"quantization_config": {"load_in_8bit": True}}, "got 'quantization_config'"),
        (TextEncoder, {"per_layer_config": {"0": {}}}, "unknown key 'per_layer_config'"),
        (TextEncoder, {"model_type": "t5"}, "model_type must be 'clip_text_model', got \"t5\""),
        (TextEncoder, {"dtype": "load"}, "dtype must be 'float64'"),
        (
            TextEncoder,
            {"num_hidden_layers": 0},
            "num_hidden_layers must be greater than or equal to 1",
        ),
        (TextEncoder, {"output_attentions": True}, "output_attentions must be false, got true"),
        (Tokenizer, {"auto_map": {"AutoTokenizer": ["a.B", None]}}, "got 'auto_map'"),
        (Tokenizer, {"tokenizer_file": "/etc/passwd"}, "tokenizer_file must be null, got"),
        (Tokenizer, {"chat_template": "{{ x }}"}, "unknown key 'chat_template'"),
        (
            NoiseSchedule,
            published.PNDM | {"beta_schedule": "exp"},
            "beta_schedule must be 'scaled_linear'",
        ),
        (NoiseSchedule, {"num_train_timesteps": 1000}, "beta_start must be given, got none"),
        (
            NoiseSchedule,
            published.PNDM | {"beta_start": "0.1"},
            "beta_start must be a valid number",
        ),
        (
            NoiseSchedule,
            published.PNDM | {"rescale_betas_zero_snr": True},
            "must be false, got true",
        ),
        (NoiseSchedule, published.PNDM | {"custom": {"a": 1}}, "unknown key 'custom'"),
        (
            NoiseSchedule,
            published.PNDM | {"_class_name": ["a.py", "B"]},
            "_class_name must be a valid str",
        ),
        (XlIndex, published.INDEX | {"_class_name": ["pipeline.py", "P"]}, "_class_name must be"),
        (XlIndex, published.INDEX | {"unet": ["planted.py", "X", "Y"]}, "unet .* at most 2 items"),
        (
            Clip,
            {"embed_dim": 8, "vision_cfg": {"layers": "x"}, "text_cfg": {}},
            "vision_cfg.layers must",
        ),
        (Clip, {"embed_dim": 8, "vision_cfg": {}}, "text_cfg must be given, got none"),
    ],
)
def test_what_a_library_would_act_upon_or_no_network_has_is_refused(kind, config, message):
    with pytest.raises(ModelError, match=message) as raised:
        validated(FILE, kind, config)
    assert str(raised.value).startswith("config.json: ")
    assert "\n" not in str(raised.value)
