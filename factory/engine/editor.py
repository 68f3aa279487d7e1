"""Edit pictures with an instruction editor: InstructPix2Pix's sampler, items of one size at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from factory import seeds
from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.device import pick_device
from factory.engine.images import to_picture, to_unit
from factory.engine.solvers.schedule import NoiseSchedule, euler_ancestral_steps
from factory.engine.solvers.step import euler_ancestral
from factory.engine.text import TextEncoder, conditioning
from factory.pictures import Picture
from schemas.recipe import ModelSource


@dataclass(frozen=True)
class Editor:
    """An editor's parts, on one device, in evaluation mode."""

    unet: Any
    """Eight input channels: the noisy latent, then the unscaled latent of the picture."""
    autoencoder: Any
    text: TextEncoder
    schedule: NoiseSchedule

    @torch.inference_mode()
    def edit(
        self,
        pictures: Tensor,
        instructions: Sequence[str],
        noise_seeds: Sequence[int],
        *,
        steps: int,
        text_guidance: float,
        image_guidance: float,
    ) -> list[Picture]:
        """Edited pictures of uint8 (picture, 3, height, width), one instruction and seed each.

        An item depends on its own seed only. Source: Brooks et al. 2023 (arXiv:2211.09800), equation
        3, and `edit_cli.py`: Euler ancestral, the picture's latent unscaled, zeros where it is dropped.
        """
        weights = next(self.autoencoder.parameters())
        x = pictures.to(weights.device, weights.dtype) / 127.5 - 1
        original = self.autoencoder.encode(x).latent_dist.mode()
        words = [self.text.words(text) for text in instructions]
        # Rows: all, picture only, nothing.
        rows_words = words + [self.text.nothing()] * (2 * len(words))
        contexts, added = conditioning(rows_words, pictures.shape[2], pictures.shape[3], original)
        conditions = torch.cat([original, original, torch.zeros_like(original)])
        road = euler_ancestral_steps(self.schedule, steps)
        latent = self._noise(noise_seeds, "edit start", original) * road.start_scale
        for i in range(len(road)):
            sigma, after = road.sigmas[i], road.sigmas[i + 1]
            rows = self._denoised(
                latent, float(sigma), float(road.timesteps[i]), conditions, contexts, added
            )
            denoised = guided(rows, text_guidance, image_guidance)
            noise = self._noise(noise_seeds, f"edit {i}", original)
            before, then = (
                latent.new_full((len(latent),), float(level)) for level in (sigma, after)
            )
            latent = euler_ancestral(latent[:, None], denoised[:, None], before, then, noise)[:, 0]
        scaling = self.autoencoder.config.scaling_factor
        decoded = self.autoencoder.decode((latent / scaling).to(weights.dtype)).sample
        return [to_picture(image) for image in to_unit(decoded.to(latent))]

    def _denoised(
        self,
        x: Tensor,
        sigma: float,
        timestep: float,
        conditions: Tensor,
        contexts: Tensor,
        added: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """All three rows of each item, at one noise level."""
        spread = (sigma**2 + 1) ** 0.5
        noisy = torch.cat([x, x, x])
        scaled = torch.cat([(noisy / spread).to(conditions.dtype), conditions], 1)
        at = noisy.new_full((len(noisy),), timestep)
        found = self.unet(scaled, at, contexts, added_cond_kwargs=added, return_dict=False)[0]
        found = found.to(x.dtype)
        if self.schedule.prediction == "v_prediction":
            return noisy / spread**2 - found * sigma / spread
        return noisy - found * sigma

    def _noise(self, noise_seeds: Sequence[int], purpose: str, like: Tensor) -> Tensor:
        shape = tuple(like.shape[1:])
        drawn = [torch.from_numpy(seeds.noise(seed, purpose, shape)) for seed in noise_seeds]
        kind = torch.float64 if like.dtype == torch.float64 else torch.float32
        return torch.stack(drawn).to(like.device, kind)


def load_editor(source: ModelSource, device: str) -> Editor:
    """An editor from a path, with its networks on a device. Raises `ModelError`."""
    where = pick_device(device)
    parts = load_text_to_image(source, None, torch.float32)
    for network in (parts.unet, parts.autoencoder, parts.text.encoder):
        network.to(where).eval()
    schedule = NoiseSchedule.from_config(parts.scheduler)
    return Editor(parts.unet, parts.autoencoder, parts.text, schedule)


def guided(rows: Tensor, text_guidance: float, image_guidance: float) -> Tensor:
    """One prediction for each item of three rows of them: all, picture only, nothing."""
    full, picture, none = rows.chunk(3)
    return none + image_guidance * (picture - none) + text_guidance * (full - picture)
