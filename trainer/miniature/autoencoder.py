"""Train the miniature's autoencoder: 64x64 pixels to 16x16 latents of 4 channels and back."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from trainer.miniature.scenes import render_all, training_scenes
from trainer.miniature.state import Training

SCENES = 12_000


def build_autoencoder() -> AutoencoderKL:
    """An `AutoencoderKL` of 0.8 million parameters, downsampling by 4."""
    return AutoencoderKL(
        block_out_channels=(32, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def train_autoencoder(
    work: Path, *, steps: int, seed: int, batch: int = 16, report: Callable[[str], None] = print
) -> AutoencoderKL:
    """Absolute error of pixels and of their differences, plus 1e-4 KL; averaged, with its scale set."""
    torch.manual_seed(seed)  # noqa: TID251  initial weights only
    vae = build_autoencoder()
    training = Training(
        vae, work / "autoencoder.safetensors", steps=steps, learning_rate=5e-4, cool_down=0.5
    )
    pictures = render_all(training_scenes(SCENES, seed))
    for rng in training.draws(seed):
        chosen = torch.from_numpy(rng.integers(0, SCENES, batch))
        x = pictures[chosen].float() / 127.5 - 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, dtype="float32"))
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        difference = decoded.float() - x
        error = difference.abs().mean()
        # Edges are few pixels and are what tells a small star from a small circle.
        edges = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        kl = 0.5 * (
            posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()
        )
        training.update(error + edges + 1e-4 * kl.mean())
        if training.step % 100 == 0 or training.step == steps:
            report(f"autoencoder step {training.step}/{steps} error {error.item():.4f}")
            training.save()
    averaged = training.averaged()
    latents = encode_all(averaged, pictures[:2000])
    averaged.register_to_config(scaling_factor=1 / latents.std().item())
    return averaged


@torch.inference_mode()
def encode_all(vae: AutoencoderKL, pictures: torch.Tensor, batch: int = 100) -> torch.Tensor:
    """Posterior means, unscaled, (picture, 4, 16, 16)."""
    parts = [
        vae.encode(pictures[i : i + batch].float() / 127.5 - 1).latent_dist.mean
        for i in range(0, len(pictures), batch)
    ]
    return torch.cat(parts).clone()
