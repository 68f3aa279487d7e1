"""InstructPix2Pix's loss of one step, slowly: an item at a time, with diffusers' own parts.

Knows nothing of the trainer but an item's draws. Brooks et al. 2023 (arXiv:2211.09800), equation 2.
"""

import diffusers
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from factory import seeds
from tests.factory.engine.tiny import SCHEDULER

_MODELS = diffusers


def reference_step(parts, unet, pairs, items, tell=None):
    """Mean loss over items, and the gradient of each of the UNet's parameters.

    `tell` gives what the UNet is told of an instruction, None if dropped, of a picture's size.
    """
    scheduler = _MODELS.DDPMScheduler(**{
        key: value for key, value in SCHEDULER.items() if key not in ("set_alpha_to_one",)
    }, prediction_type=parts.prediction_type)  # fmt: skip
    # Its table is float32; the law is compared in float64.
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    unet.zero_grad()
    total = 0.0
    for item in items:
        original, instruction, edited = pairs[item.row]
        loss = _item_loss(
            parts, unet, scheduler, original, instruction, edited, item, tell or _tell
        )
        (loss / len(items)).backward()
        total += loss.item() / len(items)
    return total, {name: p.grad.clone() for name, p in unet.named_parameters()}


def _item_loss(parts, unet, scheduler, original, instruction, edited, item, tell):
    if item.flip:
        original, edited = original.flip(2), edited.flip(2)
    latent = _moments(parts, edited)
    sample = latent.mean + latent.std * _noise(item, "posterior", latent.mean)
    target = sample * parts.vae.config.scaling_factor
    noise = _noise(item, "noise", target)
    timestep = torch.tensor([item.timestep])
    noisy = scheduler.add_noise(target, noise, timestep)
    seen = _moments(parts, original).mode()
    if item.dropped in ("image", "both"):
        seen = torch.zeros_like(seen)
    told = tell(parts, None if item.dropped in ("text", "both") else instruction, edited.shape[1:])
    found = unet(torch.cat([noisy, seen], dim=1), timestep, **told).sample
    aim = noise
    if parts.prediction_type == "v_prediction":
        aim = scheduler.get_velocity(target, noise, timestep)
    return torch.nn.functional.mse_loss(found, aim)


def _tell(parts, instruction, size):
    words = instruction or ""
    tokens = parts.tokenizer(
        words, padding="max_length", max_length=parts.tokenizer.model_max_length, truncation=True,
        return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        return {"encoder_hidden_states": parts.text_encoder(tokens.input_ids)[0]}


def _moments(parts, picture):
    x = picture.to(torch.float64)[None] / 255 * 2 - 1
    with torch.no_grad():
        return DiagonalGaussianDistribution(parts.vae.quant_conv(parts.vae.encoder(x)))


def _noise(item, purpose, like):
    return torch.from_numpy(seeds.noise(item.seed, purpose, tuple(like.shape[1:]))).to(like)[None]
