"""The step of diffusers' `train_instruct_pix2pix`, in its order of work.

Decoded pictures and tokens are handed to it; its own loader makes them between two steps, in the same
process.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from schemas.training.fit import Law
from trainer.learning.editor import widen


class DiffusersLaw:
    """Its models and optimiser, with the settings of ours."""

    def __init__(self, folder: Path, law: Law) -> None:
        self.law = law
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        widen(self.unet)
        self.unet.train()
        self.autoencoder = AutoencoderKL.from_pretrained(folder / "vae").requires_grad_(False)
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(False)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.noising = DDPMScheduler.from_pretrained(folder / "scheduler")
        self.average = EMAModel(self.unet.parameters(), decay=law.ema_decay)
        self.optimiser = torch.optim.AdamW(
            self.unet.parameters(),
            lr=law.learning_rate,
            betas=law.betas,
            weight_decay=law.weight_decay,
        )
        self.generator = torch.Generator().manual_seed(law.seed)

    def tokens(self, instructions: Sequence[str]) -> Tensor:
        return self.tokenizer(
            list(instructions),
            max_length=self.tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids

    def step(self, originals: Tensor, edited: Tensor, tokens: Tensor) -> float:
        """Pictures are float (item, 3, height, width) in [-1, 1]; returns the loss."""
        latents = self.autoencoder.encode(edited).latent_dist.sample(self.generator)
        latents = latents * self.autoencoder.config.scaling_factor
        count = len(latents)
        noise = torch.randn(latents.shape, generator=self.generator)
        timesteps = torch.randint(
            0, self.noising.config.num_train_timesteps, (count,), generator=self.generator
        )
        noisy = self.noising.add_noise(latents, noise, timesteps)
        context = self.text(tokens)[0]
        condition = self.autoencoder.encode(originals).latent_dist.mode()
        # One draw an item, in intervals: text, both, image. It has one share for all three.
        share = self.law.dropout.text
        draw = torch.rand(count, generator=self.generator)
        empty = self.text(self.tokens([""]))[0]
        context = torch.where((draw < 2 * share).view(-1, 1, 1), empty, context)
        drops_image = (draw >= share) & (draw < 3 * share)
        condition = condition * (~drops_image).to(condition).view(-1, 1, 1, 1)
        seen = torch.cat([noisy, condition], 1)
        found = self.unet(seen, timesteps, context, return_dict=False)[0]
        loss = F.mse_loss(found.float(), noise.float(), reduction="mean")
        # As it does for its progress bar, over all processes.
        told = float(loss.detach().repeat(count).mean())
        loss.backward()
        if self.law.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self.law.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.step(self.unet.parameters())
        return told
