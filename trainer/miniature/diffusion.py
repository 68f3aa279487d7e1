"""Train the miniature's text-to-image model: UNet and text encoder together, on cached latents."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from factory.miniature import world
from trainer.miniature.autoencoder import encode_all
from trainer.miniature.scenes import render_all, training_scenes
from trainer.miniature.state import Training
from trainer.miniature.vocabulary import CONTEXT_LENGTH

SCENES = 12_000
EMPTY_SHARE = 0.1
"""Share of captions replaced by the empty one, for classifier-free guidance."""


class TrainedParts(nn.Module):
    """The two trained parts under one roof."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=CONTEXT_LENGTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(64, 128),
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            cross_attention_dim=64,
            attention_head_dim=4,  # diffusers reads this as the number of heads
            norm_num_groups=16,
        )


def noise_scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule with v-prediction, as Stable Diffusion 2's.

    Flat pictures have smooth latents, whose noise can be averaged away: an eps error of 0.003 at the
    strongest noise still leaves the picture open, and eps-trained samples ignored their caption.
    Source of v: Salimans & Ho 2022 (arXiv:2202.00512), section 4.
    """
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        prediction_type="v_prediction",
        steps_offset=1,  # or diffusers' pipeline says that the file is outdated
    )


def train_diffusion(
    work: Path,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    report: Callable[[str], None] = print,
) -> TrainedParts:
    """Mean squared error of v, a tenth of the captions empty; returns the averaged model."""
    torch.manual_seed(seed)  # noqa: TID251  initial weights only
    model = TrainedParts(tokenizer)
    # With heads of 16 channels torch's fused attention takes most of a step's time on CPUs, going
    # back; whole maps make the step twice as fast (docs/log.md).
    model.unet.set_attn_processor(AttnProcessor())
    training = Training(model, work / "diffusion.safetensors", steps=steps, learning_rate=1e-3)
    scenes = training_scenes(SCENES, seed)
    latents = encode_all(vae, render_all(scenes)) * vae.config.scaling_factor
    captions = [world.caption(scene) for scene in scenes]
    tokens = tokenizer([*captions, ""], padding="max_length", return_tensors="pt").input_ids
    scheduler = noise_scheduler()
    for rng in training.draws(seed):
        chosen = torch.from_numpy(rng.integers(0, SCENES, batch))
        empty = torch.from_numpy(rng.random(batch) < EMPTY_SHARE)
        words = tokens[torch.where(empty, SCENES, chosen)]
        timestep = torch.from_numpy(rng.integers(0, 1000, batch))
        noise = torch.from_numpy(rng.standard_normal((batch, 4, 16, 16), dtype="float32"))
        noisy = scheduler.add_noise(latents[chosen], noise, timestep)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            context = model.text_encoder(words).last_hidden_state
            predicted = model.unet(noisy, timestep, context).sample
        velocity = scheduler.get_velocity(latents[chosen], noise, timestep)
        loss = ((predicted.float() - velocity) ** 2).mean()
        training.update(loss)
        if training.step % 50 == 0 or training.step == steps:
            report(f"diffusion step {training.step}/{steps} loss {loss.item():.4f}")
            training.save()
    return training.averaged()
