"""Stable Diffusion 1.5 and 2.1 and OpenAI's ViT-L/14 as they are, with random weights.

The slow tests run them at full size through the ordinary path: `make test-slow`.
"""

import gc
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import diffusers
import open_clip
import pytest
import torch
from diffusers.loaders import single_file_utils as converters
from safetensors.torch import save_file

from factory.engine.clip_scorer import similarities
from factory.engine.solvers.schedule import NoiseSchedule
from factory.models import family
from factory.models.checks import clip
from factory.models.pin import pin
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.source import Made
from schemas.recipe import ModelSource
from tests.factory.engine import family as saved
from tests.factory.engine.architectures import FAMILIES, Weights
from tests.factory.engine.outputs import outputs, outputs_of, settled
from tests.factory.engine.reference_scores import reference_scores

torch.set_num_threads(1)


def test_real_families_are_the_originals_numbers():
    """Diffusers' own reading of v1-inference.yaml and v2-inference(-v).yaml."""
    unet = {
        "attention_resolutions": [4, 2, 1],
        "channel_mult": [1, 2, 4, 4],
        "in_channels": 4,
        "model_channels": 320,
        "num_res_blocks": 2,
        "out_channels": 4,
        "transformer_depth": 1,
        "use_spatial_transformer": True,
    }
    autoencoder = {
        "embed_dim": 4,
        "ddconfig": {
            "ch": 128,
            "ch_mult": [1, 2, 4, 4],
            "in_channels": 3,
            "num_res_blocks": 2,
            "out_ch": 3,
            "resolution": 512,
            "z_channels": 4,
        },
    }
    own = {
        "sd-1": {"context_dim": 768, "num_heads": 8},
        "sd-2-base": {
            "context_dim": 1024,
            "num_head_channels": 64,
            "use_linear_in_transformer": True,
        },
    }
    own["sd-2-v"] = own["sd-2-base"]
    for name, numbers in own.items():
        parameters = {
            "unet_config": {"params": unet | {"image_size": 64} | numbers},
            "first_stage_config": {"params": autoencoder},
            "scale_factor": 0.18215,
        }
        original = {"model": {"params": parameters}}
        theirs = converters.create_unet_diffusers_config_from_ldm(original, {})
        assert same(diffusers.UNet2DConditionModel, theirs, family.family_fields(name)["unet"])
        theirs = converters.create_vae_diffusers_config_from_ldm(original, {})
        assert same(diffusers.AutoencoderKL, theirs, family.autoencoder_fields())
    predicts = [family.family_fields(name)["scheduler"]["prediction_type"] for name in FAMILIES]
    assert predicts == ["epsilon", "epsilon", "v_prediction"]


def test_real_families_have_the_originals_text_encoders_and_noise():
    for name, architecture, unused_layers in (
        ("sd-1", "ViT-L-14-quickgelu", 0),
        ("sd-2-base", "ViT-H-14", 1),
        ("sd-2-v", "ViT-H-14", 1),
    ):
        config = open_clip.get_model_config(architecture)
        original, text = config["text_cfg"], family.family_fields(name)["text_encoder"]
        assert text["hidden_size"] == original["width"]
        assert text["intermediate_size"] == 4 * original["width"]
        assert text["num_attention_heads"] == original["heads"]
        assert text["num_hidden_layers"] == original["layers"] - unused_layers
        assert text["max_position_embeddings"] == original["context_length"]
        assert text["vocab_size"] == original["vocab_size"]
        assert text["hidden_act"] == ("quick_gelu" if config.get("quick_gelu") else "gelu")
        assert text["hidden_size"] == family.family_fields(name)["unet"]["cross_attention_dim"]
        # What k-diffusion finds in the originals' own alphas_cumprod.
        sigmas = NoiseSchedule.from_config(family.family_fields(name)["scheduler"]).sigmas
        assert (len(sigmas), round(float(sigmas[0]), 4), round(float(sigmas[-1]), 4)) == (
            1000,
            0.0292,
            14.6146,
        )


def same(kind, theirs, ours) -> bool:
    with torch.device("meta"):
        models = [kind.from_config(config) for config in (theirs, ours)]
    # What does not change an output: the usual size, and a way of attending that is not used.
    skipped = ("sample_size", "upcast_attention", "_use_default_values")
    first, second = (
        {k: v for k, v in model.config.items() if k not in skipped} for model in models
    )
    assert {k: v.shape for k, v in models[0].state_dict().items()} == {
        k: v.shape for k, v in models[1].state_dict().items()
    }
    return first == second


def clip_by_name(folder: Path, name: str) -> torch.nn.Module:
    """A random CLIP of an open_clip architecture; its weights, in half precision, below `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(name).eval()
    weights = {k: weight.half().contiguous() for k, weight in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    model.load_state_dict(weights)
    return model


def scored_by_name(folder: Path, name: str) -> None:
    """A pair of the tiny family, scored by an architecture's name as the original's filter does it."""
    model = clip_by_name(folder, name)
    clip = ModelSource(source=str(folder / "open_clip_model.safetensors"), name=name)
    of = pin(saved.recipe(saved.save_family(folder / "family"), clip=clip, dtype="float32"))
    engine = PromptToPrompt(of, device="cpu", batch_pairs=1)
    made = next(engine.pairs([saved.draw(saved.CAPTIONS[0], seed=3)]))
    assert isinstance(made, Made)
    before, after = (
        torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255
        for picture in (made.original, made.edited)
    )
    expected = reference_scores(
        model, open_clip.get_tokenizer(name), before, after, *saved.CAPTIONS[0]
    )
    scorer = engine.models.clip
    with torch.no_grad():
        images = scorer.image_features(torch.stack([before, after])).split(1)
        texts = [scorer.text_features(prompt)[None] for prompt in saved.CAPTIONS[0]]
        scores = similarities(*images, *texts)[0]
    torch.testing.assert_close(scores.tolist(), list(expected.values()), rtol=0, atol=1e-5)
    # The engine scored before it rounded to 8 bits.
    got = made.scores.model_dump()
    assert all(abs(got[key] - value) < 0.02 for key, value in expected.items()), (got, expected)


def test_clip_of_a_named_architecture_scores_a_pair(tmp_path, monkeypatch):
    image = {"layers": 2, "width": 64, "head_width": 16, "image_size": 24, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 2}
    config = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": image, "text_cfg": text}
    file = tmp_path / "tiny-quickgelu.json"
    file.write_text(json.dumps(config))
    open_clip.add_model_config(file)
    monkeypatch.setattr(clip, "_configs", lambda: {file.stem: file})
    scored_by_name(tmp_path, "tiny-quickgelu")


@pytest.fixture
def scratch():
    """A folder that does not outlive its test: full-size files are gigabytes."""
    with TemporaryDirectory() as folder:
        yield Path(folder)
    gc.collect()


@pytest.mark.slow
def test_openais_vit_l_14_scores_a_pair(scratch):
    scored_by_name(scratch, "ViT-L-14-quickgelu")


def diffusers_outputs(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
    return outputs(
        settled(pipeline.unet),
        settled(pipeline.vae),
        pipeline.text_encoder,
        pipeline.tokenizer,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype", "size_px", "parameters"),
    [("sd-1", "float32", 512, 859_520_964), ("sd-2-v", "bfloat16", 128, 865_910_724)],
)
def test_full_size_single_file_is_diffusers_and_makes_a_pair(
    scratch, name, dtype, size_px, parameters
):
    weights = Weights(name, dtype=torch.float16)
    weights.save_folder(scratch / name)
    file = weights.save_single_file(scratch / f"{name}.safetensors")
    del weights
    gc.collect()
    expected = diffusers_outputs(scratch / name, getattr(torch, dtype))
    gc.collect()
    of = saved.recipe(
        saved.save_family(scratch),
        text_to_image=ModelSource(source=str(file), name=name),
        dtype=dtype,
        size_px=size_px,
        steps=2,
    )
    engine = PromptToPrompt(of, device="cpu", batch_pairs=1, decode_pairs=1)
    models = engine.models
    assert sum(weight.numel() for weight in models.unet.parameters()) == parameters
    got = outputs_of(models)
    for part, theirs in expected.items():
        assert torch.equal(got[part], theirs), part
        assert theirs.isfinite().all()
    made = next(engine.pairs([saved.draw(saved.CAPTIONS[0], seed=1)]))
    assert isinstance(made, Made)
    for picture in (made.original, made.edited):
        assert picture.shape == (size_px, size_px, 3)
        assert picture.std() > 1
    assert (made.original != made.edited).any()
