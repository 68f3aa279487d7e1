"""What the parts of a text-to-image model make of the same inputs."""

from typing import Any

import torch
from torch import Tensor

PROMPTS = ("a photo of a cat", "a photo of a dog, in the style of Monet")


@torch.no_grad()
def outputs(
    unet: Any, autoencoder: Any, encoder: Any, tokenizer: Any, side: int = 8
) -> dict[str, Tensor]:
    """Tokens, context, the UNet's prediction at two timesteps, a picture encoded and one decoded.

    `side` is the latents'; pictures are 8 times as large.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, side, side, generator=generator).to(encoder.dtype)
    picture = torch.rand(1, 3, 8 * side, 8 * side, generator=generator).to(encoder.dtype) * 2 - 1
    ids = tokenizer(
        list(PROMPTS), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    context = encoder(ids).last_hidden_state
    return {
        "ids": ids,
        "context": context,
        "predicted": unet(x, torch.tensor([981, 3]), context).sample,
        "encoded": autoencoder.encode(picture).latent_dist.mean,
        "decoded": autoencoder.decode(x).sample,
    }


def outputs_of(models: Any) -> dict[str, Tensor]:
    """The same of the engine's models."""
    return outputs(
        models.unet, models.autoencoder.network, models.text.encoder, models.text.tokenizer
    )


def settled(model: Any) -> Any:
    """The model as the engine holds it, for equal bits on a CPU.

    Kernels change with where in memory a weight begins (in a mapped file: anywhere) and, in half
    precision, with whether it asks for a gradient, even under `no_grad`.
    """
    model.eval().requires_grad_(False)
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model
