"""A random model family too small to draw anything, in the ordinary formats: for equality tests."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.factory.engine.reference import Parts
from tests.factory.engine.reference_samplers import PredictionType, alphas_cumprod
from trainer.miniature.vocabulary import CONTEXT_LENGTH, END, START, save_tokenizer, vocabulary

_MODELS: Any = diffusers  # whose constructors carry no types

LATENT_SIDE = 8
VAE_FACTOR = 2
SCALING_FACTOR = 0.5
IMAGE_SIDE = LATENT_SIDE * VAE_FACTOR
SELF_ATTENTION_LAYERS = 7
"""One in each of two down blocks, one in the middle, two in each of two up blocks."""

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@cache
def _tokenizer() -> Any:
    with TemporaryDirectory() as folder:
        save_tokenizer(Path(folder))
        return CLIPTokenizer.from_pretrained(folder)


def _unet(channels: int) -> Any:
    unet = _MODELS.UNet2DConditionModel(
        in_channels=channels,
        sample_size=LATENT_SIDE,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    # As initialised, attention is nearly uniform and a wrong map would hardly change the picture.
    for name, weight in unet.named_parameters():
        if name.endswith(("to_q.weight", "to_k.weight")):
            weight.data *= 4
        if name.endswith(("to_v.weight", "to_out.0.weight")):
            weight.data *= 2
    return unet


def _vae() -> Any:
    return _MODELS.AutoencoderKL(
        sample_size=IMAGE_SIDE,
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=SCALING_FACTOR,
    )


def _text_encoder() -> Any:
    tokens = vocabulary()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            projection_dim=32,
            bos_token_id=tokens[START],
            eos_token_id=tokens[END],
            pad_token_id=tokens[END],
        )
    )


def tiny_parts(
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    *,
    prediction_type: PredictionType = "epsilon",
    channels: int = 4,
) -> Parts:
    """Random weights from `seed`; latents are (4, 8, 8), images (3, 16, 16); an editor has 8 `channels`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae, text_encoder = _unet(channels), _vae(), _text_encoder()
    for model in (unet, vae, text_encoder):
        # torch's own `to`: diffusers' overrides it with a warning about layers kept in float32.
        torch.nn.Module.to(model.eval().requires_grad_(False), dtype)
    return Parts(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=_tokenizer(),
        alphas_cumprod=alphas_cumprod(SCHEDULER),
        prediction_type=prediction_type,
    )


def save_tiny(
    folder: Path,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    *,
    prediction_type: PredictionType = "epsilon",
    channels: int = 4,
) -> Parts:
    """Write `tiny_parts` as a folder that `StableDiffusionPipeline` loads; return the parts."""
    parts = tiny_parts(seed, dtype, prediction_type=prediction_type, channels=channels)
    scheduler = _MODELS.DDIMScheduler(**SCHEDULER, prediction_type=prediction_type)
    folder.mkdir(parents=True, exist_ok=True)
    parts.unet.save_pretrained(folder / "unet")
    parts.vae.save_pretrained(folder / "vae")
    parts.text_encoder.save_pretrained(folder / "text_encoder")
    scheduler.save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))
    return parts
