"""The model of the trainer's benchmark: random weights, two encodes as dear as a step of the UNet."""

import io
from pathlib import Path

import diffusers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from tests.factory.engine.tiny import SCHEDULER
from trainer.miniature.vocabulary import CONTEXT_LENGTH, END, START, save_tokenizer, vocabulary

SIDE = 128
FACTOR = 8
WIDTH = 64
"""Of a context's vectors."""


def write_model(folder: Path) -> Path:
    """A Stable Diffusion in small, in diffusers' folders."""
    tokens = vocabulary()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(
            sample_size=SIDE // FACTOR,
            block_out_channels=(64, 128),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=2,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        autoencoder = diffusers.AutoencoderKL(
            sample_size=SIDE,
            block_out_channels=(32, 64, 64, 64),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=16,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokens),
                hidden_size=WIDTH,
                intermediate_size=4 * WIDTH,
                num_hidden_layers=8,
                num_attention_heads=4,
                max_position_embeddings=CONTEXT_LENGTH,
                projection_dim=WIDTH,
                bos_token_id=tokens[START],
                eos_token_id=tokens[END],
                pad_token_id=tokens[END],
            )
        )
    unet.save_pretrained(folder / "unet")
    autoencoder.save_pretrained(folder / "vae")
    text.save_pretrained(folder / "text_encoder")
    diffusers.DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    return folder


def write_pairs(folder: Path, count: int) -> Path:
    """Pairs of noise, as PNGs of the model's size, each with an instruction of its own."""
    rng = np.random.default_rng(0)

    def picture() -> bytes:
        data = io.BytesIO()
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data, "PNG", compress_level=1)
        return data.getvalue()

    columns = {
        "original_image": [picture() for _ in range(count)],
        "edit_prompt": [f"make it number {number}" for number in range(count)],
        "edited_image": [picture() for _ in range(count)],
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "pairs.parquet")
    return folder


def encodes_over_step(unet, autoencoder) -> float:
    """Operations of encoding both pictures of a pair, over those of the UNet forward and backward."""
    latents = torch.randn(1, 8, SIDE // FACTOR, SIDE // FACTOR)
    context = torch.randn(1, CONTEXT_LENGTH, WIDTH)
    with FlopCounterMode(display=False) as step:
        unet(latents, torch.tensor([500]), context, return_dict=False)[0].square().mean().backward()
    unet.zero_grad(set_to_none=True)
    with FlopCounterMode(display=False) as encodes, torch.no_grad():
        autoencoder.encode(torch.randn(2, 3, SIDE, SIDE))
    return encodes.get_total_flops() / step.get_total_flops()
