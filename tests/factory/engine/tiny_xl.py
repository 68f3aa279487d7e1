"""A random Stable Diffusion XL too small to draw anything: two text encoders, sizes beside the text."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.factory.engine.tiny import LATENT_SIDE, SCHEDULER, tiny_parts
from trainer.miniature.vocabulary import CONTEXT_LENGTH, END, START, save_tokenizer, vocabulary

_MODELS: Any = diffusers  # whose constructors carry no types

SCALING_FACTOR = 0.13025
WIDTHS = (32, 24)
PROJECTION = 20
TIME_WIDTH = 8


def xl_unet(channels: int = 4) -> Any:
    """As XL's: no attention at the highest resolution, several layers in each block of the lower."""
    return _MODELS.UNet2DConditionModel(
        in_channels=channels,
        sample_size=LATENT_SIDE,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=sum(WIDTHS),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=PROJECTION + 6 * TIME_WIDTH,
    )


def _text_config(width: int, layers: int, activation: str) -> CLIPTextConfig:
    tokens = vocabulary()
    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act=activation,
        projection_dim=PROJECTION,
        bos_token_id=tokens[START],
        eos_token_id=tokens[END],
        pad_token_id=tokens[END],
    )


def tiny_xl(
    folder: Path,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    *,
    zeros: bool = True,
    editor: bool = False,
) -> Any:
    """Diffusers' pipeline of the base, or of an editor, stored in `folder`; random weights from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = xl_unet(8 if editor else 4)
        first = CLIPTextModel(_text_config(WIDTHS[0], 2, "quick_gelu"))
        second = CLIPTextModelWithProjection(_text_config(WIDTHS[1], 3, "gelu"))
    vae = tiny_parts(seed).vae
    vae.register_to_config(scaling_factor=SCALING_FACTOR)
    for model in (unet, vae, first, second):
        # torch's own `to`: diffusers' overrides it with a warning about layers kept in float32.
        torch.nn.Module.to(model.eval().requires_grad_(False), dtype)
    kind = _MODELS.StableDiffusionXLPipeline
    if editor:
        kind = _MODELS.StableDiffusionXLInstructPix2PixPipeline
    pipeline = kind(
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=_tokenizer(folder / "tokenizer", END),
        # As in XL's own files, the second one pads with its first token.
        tokenizer_2=_tokenizer(folder / "tokenizer_2", "!"),
        unet=unet,
        scheduler=_MODELS.EulerDiscreteScheduler(
            **{
                k: SCHEDULER[k] for k in ("beta_start", "beta_end", "beta_schedule", "steps_offset")
            },
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(str(folder))
    return pipeline


def _tokenizer(folder: Path, pad: str) -> Any:
    save_tokenizer(folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        fields = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(fields | {"pad_token": pad}))
    return CLIPTokenizer.from_pretrained(folder)
